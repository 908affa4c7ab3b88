#include "engine/mender.h"

#include <cstring>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/operation.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

Mender::Mender(GroupImpl& group)
    : group_(&group), turn_(group.ports().executor, 1), scope_(group.ports().executor) {}

Task<void> Mender::prepare() { buffer_ = co_await group_->ports().buffers.acquire(kBlockBytes); }

void Mender::report_lost(const VolumeImpl& volume, std::uint64_t block) {
  if (reported_.size() >= kReportedMax || !reported_.emplace(volume.stored().id().value, block).second) return;
  log_error(concat("volume ", volume.stored().name(), ": block ", block, " is unreadable here, and no other copy that can be reached has it"));
}

Task<Result<void>> Mender::mend(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum, std::byte* into) {
  co_await turn_.acquire();
  auto found = co_await fetch(volume, block, checksum);
  if (!found) {
    turn_.release();
    co_return fail(Errc::corrupt);
  }
  std::memcpy(into, found->data(), kBlockBytes);
  std::memcpy(buffer_.data(), found->data(), kBlockBytes);
  scope_.spawn(put_back(volume, block, checksum));  // The reader need not wait for it. It ends the turn.
  co_return Result<void>{};
}

Task<Result<Buffer>> Mender::fetch(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum) {
  Timer pause(group_->ports().clock);
  for (int round = 0; round < kRounds && !group_->has_failed(); ++round) {
    if (round > 0) co_await pause.after(milliseconds(kRoundPauseMs));
    auto answer = co_await group_->ask_others(rebuild::Question{0, rebuild::QuestionKind::block, volume->stored().id(), block, checksum});
    if (!answer) {
      if (answer.error().code == Errc::not_found) continue;
      break;  // There is nobody to ask.
    }
    const bool right = answer->payload.size() == kBlockBytes && xxh3(answer->payload.bytes()) == checksum;
    if (right) co_return std::move(answer->payload);
  }
  co_return fail(Errc::not_found);
}

Task<void> Mender::put_back(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum) {
  co_await put_back_alone(volume, block, checksum);
  turn_.release();
}

// In its own turn among checkpoints: none frees the place under the write.
Task<void> Mender::put_back_alone(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum) {
  if (volume->is_closed()) co_return;
  VolumeOperation operation(*volume);
  co_await group_->checkpoint_turn().acquire();
  Turn turn(group_->checkpoint_turn());
  auto leaf = co_await volume->stored().map->load_leaf(block / kChunkBlocks / snapshot::kLeafChunks);
  if (!leaf || group_->has_failed() || group_->is_rebuilding()) co_return;
  // Nothing suspends from here to the write: the place is that of the block as it is now.
  const auto offset = volume->place_of(*leaf, block, checksum);
  if (!offset) co_return;  // It was overwritten or moved meanwhile.
  PendingChunk* chunk = group_->pending().hold(volume->stored(), block / kChunkBlocks);
  if (!chunk) co_return;   // It is being overwritten: the next reader sees what came of it.
  auto written = co_await group_->ports().disk.write(*offset, buffer_.bytes(), Durability::durable);
  group_->pending().let_go(chunk);
  group_->applier().kick();
  if (!written) {
    if (!group_->has_failed()) group_->report_failure(written.error());
    co_return;
  }
  ++blocks_repaired_;
  reported_.erase({volume->stored().id().value, block});
  log_warning(concat("volume ", volume->stored().name(), ": block ", block, " was unreadable here and is repaired from another copy"));
}

}  // namespace holdfast::engine
