#include "io/system_error.h"

#include <cerrno>
#include <cstring>

namespace holdfast::io {

Errc errc_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENXIO:
    case ENODEV: return Errc::not_found;
    case EEXIST: return Errc::exists;
    case EACCES:
    case EPERM:
    case EROFS: return Errc::permission;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return Errc::no_space;
    case EBUSY:
    case EADDRINUSE: return Errc::busy;
    case EAGAIN: return Errc::locked;
    case EINVAL:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT: return Errc::invalid_argument;
    case EOPNOTSUPP:
    case ENOSYS: return Errc::unsupported;
    // Of the network: nobody answers. The kernel names what it heard last of the way, if it heard anything.
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH: return Errc::timed_out;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN: return Errc::closed;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return Errc::overloaded;
    default: return Errc::io_error;
  }
}

Error system_error(int error_number, std::string_view what) {
  std::string message(what);
  message.append(": ").append(strerrordesc_np(error_number) ? strerrordesc_np(error_number) : "unknown error");
  return Error(errc_of(error_number), std::move(message));
}

}  // namespace holdfast::io
