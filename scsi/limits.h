// Every bound of the command set, as VPD B0 advertises them.
#pragma once

#include <cstdint>

#include "base/types.h"
#include "engine/volume.h"
#include "scsi/command.h"

namespace holdfast::scsi {

inline constexpr std::uint32_t kPieceBlocks = kPieceBytes / kBlockBytes;
inline constexpr std::uint32_t kTransferBlocksMax = kTransferBytesMax / kBlockBytes;
inline constexpr std::uint32_t kTransferBlocksOptimal = kPieceBlocks;
inline constexpr std::uint32_t kAtomicBlocksMax = Volume::kTransferBlocksMax;
inline constexpr std::uint32_t kCompareBlocksMax = 128;            // Both halves fit one buffer.
inline constexpr std::uint32_t kUnmapBlocksMax = 1U << 20;         // Of one command, over all descriptors.
inline constexpr std::uint32_t kUnmapDescriptorsMax = 256;
inline constexpr std::uint32_t kWriteSameBlocksMax = 32768;        // 128 MiB; a length of zero is refused (WSNZ).
inline constexpr std::uint32_t kProvisioningRunsMax = 256;
inline constexpr std::uint32_t kParameterBytesMax = 65536;         // Of any parameter list.

static_assert(kPieceBlocks <= Volume::kTransferBlocksMax, "A piece is one call of the volume.");
static_assert(2 * kCompareBlocksMax * kBlockBytes <= kPieceBytes);
static_assert(kUnmapBlocksMax <= Volume::kUnmapBlocksMax);
static_assert(kParameterBytesMax <= kPieceBytes);
static_assert(kAtomicBlocksMax <= kTransferBlocksMax);

}  // namespace holdfast::scsi
