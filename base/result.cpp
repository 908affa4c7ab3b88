#include "base/result.h"

namespace holdfast {

std::string_view errc_name(Errc code) {
  switch (code) {
    case Errc::io_error: return "io error";
    case Errc::sync_failed: return "sync failed";
    case Errc::out_of_range: return "out of range";
    case Errc::no_space: return "no space";
    case Errc::corrupt: return "corrupt";
    case Errc::damaged: return "damaged";
    case Errc::fenced: return "fenced";
    case Errc::closed: return "closed";
    case Errc::cancelled: return "cancelled";
    case Errc::invalid_argument: return "invalid argument";
    case Errc::not_found: return "not found";
    case Errc::exists: return "exists already";
    case Errc::busy: return "busy";
    case Errc::locked: return "locked";
    case Errc::permission: return "permission denied";
    case Errc::unsupported: return "unsupported";
    case Errc::version_too_new: return "format version too new";
    case Errc::foreign: return "foreign data";
    case Errc::truncated: return "truncated";
    case Errc::timed_out: return "timed out";
    case Errc::miscompare: return "miscompare";
    case Errc::protocol: return "protocol error";
    case Errc::overloaded: return "overloaded";
  }
  return "unknown error";
}

std::string Error::text() const {
  std::string out(errc_name(code));
  if (!message.empty()) out.append(": ").append(message);
  return out;
}

}  // namespace holdfast
