// What a failure of the volume means to a host.
#pragma once

#include "base/result.h"
#include "base/types.h"
#include "scsi/sense.h"

namespace holdfast::scsi {

enum class Direction : std::uint8_t { read, write };

Verdict volume_error(const Error& error, Direction direction, Lba at);

}  // namespace holdfast::scsi
