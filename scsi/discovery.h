// A discovery session after its login: SendTargets, NOP and logout, one PDU at a time, on the accepting thread.
#pragma once

#include "base/stream.h"
#include "base/task.h"
#include "scsi/login.h"
#include "scsi/target_directory.h"

namespace holdfast::scsi {

// Ends with the logout, the stream, or the first PDU that has no place here. All three outlive the task.
Task<void> serve_discovery(Stream* stream, const LoginMachine* machine, const TargetDirectory* directory);

}  // namespace holdfast::scsi
