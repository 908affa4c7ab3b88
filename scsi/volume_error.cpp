#include "scsi/volume_error.h"

namespace holdfast::scsi {

Verdict volume_error(const Error& error, Direction direction, Lba at) {
  const bool reading = direction == Direction::read;
  switch (error.code) {
    case Errc::out_of_range: return check_at(SenseKey::illegal_request, Asc::lba_out_of_range, at.value);
    case Errc::no_space: return check(SenseKey::data_protect, Asc::space_allocation_failed);
    case Errc::corrupt:
    case Errc::damaged: return check_at(SenseKey::medium_error, Asc::unrecovered_read_error, at.value);
    case Errc::io_error:
    case Errc::sync_failed:
      return check_at(SenseKey::medium_error, reading ? Asc::unrecovered_read_error : Asc::write_error, at.value);
    case Errc::fenced: return check(SenseKey::not_ready, Asc::not_ready_standby);
    case Errc::closed: return check(SenseKey::not_ready, Asc::not_ready_unavailable);
    case Errc::cancelled: return check(SenseKey::aborted_command, Asc::none);
    case Errc::busy:
    case Errc::overloaded: return Verdict{Status::task_set_full, {}};
    default: return check(SenseKey::hardware_error, Asc::internal_target_failure);
  }
}

}  // namespace holdfast::scsi
