#include "base/disk.h"

#include <cerrno>

namespace holdfast {

Result<void> Disk::Awaiter::await_resume() const {
  switch (request_.error) {
    case 0: return {};
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return fail(Errc::no_space);
    default: return fail(request_.op == DiskOp::sync || request_.op == DiskOp::grow ? Errc::sync_failed : Errc::io_error);
  }
}

}  // namespace holdfast
