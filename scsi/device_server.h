// The device server of one volume: what the transport makes for each target.
#pragma once

#include <memory>

#include "engine/volume.h"
#include "scsi/command.h"
#include "scsi/device_options.h"

namespace holdfast::scsi {

// The volume outlives the device server.
std::unique_ptr<DeviceServer> make_device_server(Volume& volume, DeviceOptions options);

}  // namespace holdfast::scsi
