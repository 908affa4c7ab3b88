// Commands that move blocks. READ and WRITE neither allocate nor copy: the payload's buffer goes from the transport to the
// volume and back by reference.
#include <algorithm>
#include <cstring>

#include "base/ensure.h"
#include "scsi/limits.h"
#include "scsi/payload.h"
#include "scsi/server.h"
#include "scsi/volume_error.h"

namespace holdfast::scsi {
namespace {

Verdict aborted() { return check(SenseKey::aborted_command, Asc::none); }
// What the volume says to whatever is under way when the role goes.
Verdict role_went() { return check(SenseKey::not_ready, Asc::not_ready_standby); }
Verdict outdated_verdict(const Command& command) { return command.aborted ? aborted() : role_went(); }

// The part of a range that one call of the volume takes.
BlockRange next_piece(BlockRange range, std::uint64_t done, std::uint64_t piece_blocks) {
  return {Lba(range.first.value + done), BlockCount(std::min(range.count.value - done, piece_blocks))};
}

std::uint64_t first_difference(Bytes a, Bytes b) {
  return static_cast<std::uint64_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
}

// What came for a command: less than the CDB says when the initiator announced less, even within a block.
struct Received {
  BlockRange whole;
  std::uint32_t tail_bytes;            // Of the block after them.
  BlockRange touched() const { return {whole.first, BlockCount(whole.count.value + (tail_bytes > 0 ? 1 : 0))}; }
};
Received received(const Command& command) {
  const BlockCdb cdb = parse_blocks(command.cdb.data());
  ENSURE(command.data_out_bytes <= cdb.count.value * kBlockBytes);
  const auto tail_bytes = static_cast<std::uint32_t>(command.data_out_bytes % kBlockBytes);
  return {{cdb.first, BlockCount(command.data_out_bytes / kBlockBytes)}, tail_bytes};
}

}  // namespace

// Empty when the command was given up meanwhile, or there is no room: see without_memory().
Task<Buffer> Server::acquire_work(Command* command, std::size_t bytes) {
  Buffer buffer;
  MorePieces none;
  co_await acquire_payload(&volume_.clock(), &volume_.buffers(), static_cast<std::uint32_t>(bytes), &buffer, &none, &command->aborted);
  co_return buffer;
}

Verdict Server::without_memory(const Command& command) const {
  return outdated(command) ? outdated_verdict(command) : Verdict{Status::task_set_full, {}};
}

Task<void> Server::run_read(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  const BlockCdb cdb = parse_blocks(command->cdb.data());
  // Blocks that the initiator has no room for are not fetched: the transport sends expected_bytes at most.
  const std::uint64_t room = command->wants_read ? command->expected_bytes : 0;
  const std::uint64_t count = std::min(cdb.count.value, divide_up(room, kBlockBytes));
  if (count == 0) co_return;
  const auto bytes = static_cast<std::uint32_t>(count * kBlockBytes);
  const bool acquired =
      co_await acquire_payload(&volume_.clock(), &volume_.buffers(), bytes, &command->data_in, &command->data_in_more, &command->aborted);
  if (!acquired) co_return finish(*command, Verdict{Status::task_set_full, {}});
  const BlockRange range{cdb.first, BlockCount(count)};
  for (std::uint64_t done = 0; done < count; done += kPieceBlocks) {
    if (command->aborted) co_return;
    const BlockRange piece = next_piece(range, done, kPieceBlocks);
    const auto offset = static_cast<std::uint32_t>(done * kBlockBytes);
    const Result<void> result =
        co_await volume_.read(piece, payload_piece(command->data_in, command->data_in_more, offset));
    if (!result) {
      counters_.read_errors.add();
      command->data_in_bytes = 0;
      command->transfer_bytes = 0;
      co_return finish(*command, volume_error(result.error(), Direction::read, piece.first));
    }
  }
  counters_.read_bytes.add(bytes);
}

Task<Verdict> Server::write_blocks(Command* command, BlockRange range) {
  for (std::uint64_t done = 0; done < range.count.value; done += kPieceBlocks) {
    if (outdated(*command)) co_return outdated_verdict(*command);
    const BlockRange piece = next_piece(range, done, kPieceBlocks);
    const auto offset = static_cast<std::uint32_t>(done * kBlockBytes);
    Buffer& held = payload_piece(command->data_out, command->data_out_more, offset);
    const std::size_t bytes = piece.count.value * kBlockBytes;
    Buffer from = held.size() == bytes ? held : held.slice(0, bytes);
    const Result<void> result = co_await volume_.write(piece, std::move(from));
    if (!result) {
      counters_.write_errors.add();
      co_return volume_error(result.error(), Direction::write, piece.first);
    }
  }
  counters_.write_bytes.add(range.count.value * kBlockBytes);
  co_return go_on();
}

// The beginning of a block, of which the initiator sends no more: what it sends is written, the rest of the block stays.
// Atomic against every other write: compared with what was read, and tried again when that has changed.
Task<Verdict> Server::write_part_of_block(Command* command, Lba at, Bytes part) {
  constexpr int kTriesMax = 16;
  for (int i = 0; i < kTriesMax; ++i) {
    Buffer present = co_await acquire_work(command, kBlockBytes);
    if (!present) co_return without_memory(*command);
    const Result<void> read = co_await volume_.read({at, BlockCount(1)}, present);
    if (!read) co_return volume_error(read.error(), Direction::read, at);
    Buffer desired = co_await acquire_work(command, kBlockBytes);
    if (!desired) co_return without_memory(*command);
    std::memcpy(desired.data(), present.data(), kBlockBytes);
    std::memcpy(desired.data(), part.data(), part.size());
    if (outdated(*command)) co_return outdated_verdict(*command);
    const auto written = co_await volume_.compare_and_write({at, BlockCount(1)}, std::move(present), std::move(desired));
    if (!written) co_return volume_error(written.error(), Direction::write, at);
    if (written->matched) co_return go_on();
  }
  co_return Verdict{Status::busy, {}};
}

Task<Verdict> Server::write_received(Command* command) {
  const Received data = received(*command);
  Verdict verdict = co_await write_blocks(command, data.whole);
  if (!verdict.ok() || data.tail_bytes == 0 || command->aborted) co_return verdict;
  const auto offset = static_cast<std::uint32_t>(data.whole.count.value * kBlockBytes);
  const Buffer& held = payload_piece(command->data_out, command->data_out_more, offset);
  const Bytes part = held.bytes().subspan(offset % kPieceBytes, data.tail_bytes);
  verdict = co_await write_part_of_block(command, data.whole.end(), part);
  co_return verdict;
}

Task<void> Server::run_write(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  const Received data = received(*command);
  Verdict verdict;
  if (data.tail_bytes == 0)
    verdict = co_await write_blocks(command, data.whole);
  else
    verdict = co_await write_received(command);
  finish(*command, verdict);
}

// Reads the blocks back: their checksums are verified by that, and with `compare` they must be what was sent.
Task<Verdict> Server::verify_blocks(Command* command, BlockRange range, ByteCheck byte_check) {
  for (std::uint64_t done = 0; done < range.count.value; done += kPieceBlocks) {
    if (done > 0) co_await Yield{volume_.executor()};  // What is not mapped is read without a wait.
    if (command->aborted) co_return aborted();
    const BlockRange piece = next_piece(range, done, kPieceBlocks);
    const std::size_t bytes = piece.count.value * kBlockBytes;
    Buffer read_back = co_await acquire_work(command, bytes);
    if (!read_back) co_return without_memory(*command);
    const Result<void> result = co_await volume_.read(piece, read_back);
    if (!result) {
      counters_.verify_errors.add();
      co_return volume_error(result.error(), Direction::read, piece.first);
    }
    counters_.verify_bytes.add(bytes);
    const std::uint64_t offset = done * kBlockBytes;
    if (byte_check == ByteCheck::compare) {
      const Buffer& sent = payload_piece(command->data_out, command->data_out_more, static_cast<std::uint32_t>(offset));
      const Bytes received_bytes = sent.bytes().first(std::min(bytes, sent.size()));
      const std::uint64_t at = first_difference(received_bytes, read_back.bytes());
      if (at != received_bytes.size()) co_return check_at(SenseKey::miscompare, Asc::miscompare_during_verify, offset + at);
    }
    for (std::size_t block = 0; byte_check == ByteCheck::compare_one && block < bytes; block += kBlockBytes) {
      const Bytes one = command->data_out.bytes().first(kBlockBytes);
      const std::uint64_t at = first_difference(read_back.bytes().subspan(block, kBlockBytes), one);
      if (at != kBlockBytes)
        co_return check_at(SenseKey::miscompare, Asc::miscompare_during_verify, offset + block + at);
    }
  }
  co_return go_on();
}

Task<void> Server::run_verify(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  const BlockCdb cdb = parse_blocks(command->cdb.data());
  const ByteCheck how = byte_check(command->cdb.data());
  BlockRange range{cdb.first, cdb.count};
  if (how == ByteCheck::compare) range = received(*command).touched();
  const Verdict verdict = co_await verify_blocks(command, range, how);
  finish(*command, verdict);
}

Task<void> Server::run_write_verify(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  Verdict verdict = co_await write_received(command);
  const BlockRange range = received(*command).touched();
  if (verdict.ok()) verdict = co_await verify_blocks(command, range, byte_check(command->cdb.data()));
  finish(*command, verdict);
}

Task<void> Server::run_compare_and_write(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  const BlockCdb cdb = parse_blocks(command->cdb.data());
  if (cdb.count.value == 0) co_return;
  const std::size_t half = cdb.count.value * kBlockBytes;
  Buffer expected = command->data_out.slice(0, half);
  Buffer desired = command->data_out.slice(half, half);
  const Result<Volume::CompareResult> result =
      co_await volume_.compare_and_write({cdb.first, cdb.count}, std::move(expected), std::move(desired));
  if (!result) {
    counters_.write_errors.add();
    co_return finish(*command, volume_error(result.error(), Direction::write, cdb.first));
  }
  if (!result->matched)
    co_return finish(*command,
                     check_at(SenseKey::miscompare, Asc::miscompare_during_verify, result->mismatch_offset));
  counters_.write_bytes.add(half);
}

Task<void> Server::run_or_write(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  const BlockRange range = received(*command).touched();
  for (std::uint64_t done = 0; done < range.count.value; done += kPieceBlocks) {
    const BlockRange piece = next_piece(range, done, kPieceBlocks);
    Buffer mask = payload_piece(command->data_out, command->data_out_more, static_cast<std::uint32_t>(done * kBlockBytes));
    const std::size_t bytes = piece.count.value * kBlockBytes;
    if (mask.size() != bytes) {  // Zeros leave alone what was not sent.
      Buffer padded = co_await acquire_work(command, bytes);
      if (!padded) co_return finish(*command, without_memory(*command));
      std::memset(padded.data(), 0, bytes);
      std::memcpy(padded.data(), mask.data(), std::min(bytes, mask.size()));
      mask = std::move(padded);
    }
    if (outdated(*command)) co_return finish(*command, outdated_verdict(*command));
    const Result<void> result = co_await volume_.or_write(piece, std::move(mask));
    if (!result) {
      counters_.write_errors.add();
      co_return finish(*command, volume_error(result.error(), Direction::write, piece.first));
    }
  }
}

// Without a data-out buffer (NDOB) the block is zeros; zeros are an unmap, with or without the UNMAP bit (LBPRZ = 1).
Task<void> Server::run_write_same(Command* command) {
  constexpr std::uint64_t kStepBlocks = 4096;  // 16 MiB: an abort is noticed in between.
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  const BlockCdb cdb = parse_blocks(command->cdb.data());
  const BlockRange range{cdb.first, cdb.count};
  const bool no_data = command->data_out_bytes == 0;
  Buffer block;
  if (!no_data) block = command->data_out.slice(0, kBlockBytes);
  for (std::uint64_t done = 0; done < range.count.value; done += kStepBlocks) {
    if (outdated(*command)) co_return finish(*command, outdated_verdict(*command));
    const BlockRange piece = next_piece(range, done, kStepBlocks);
    Result<void> result;
    if (no_data)
      result = co_await volume_.unmap(piece);
    else
      result = co_await volume_.write_same(piece, block);
    if (!result) {
      counters_.write_errors.add();
      co_return finish(*command, volume_error(result.error(), Direction::write, piece.first));
    }
  }
}

Task<void> Server::run_synchronize(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  const Result<void> result = co_await volume_.flush();
  if (!result) finish(*command, volume_error(result.error(), Direction::write, Lba(0)));
}

Task<void> Server::run_get_lba_status(Command* command) {
  constexpr std::size_t kHeader = 8;
  constexpr std::size_t kDescriptor = 16;
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  const BlockCdb cdb = parse_blocks(command->cdb.data());
  const std::uint32_t allocation = load_be<std::uint32_t>(&command->cdb[10]);
  std::size_t runs_max = allocation > kHeader ? (allocation - kHeader) / kDescriptor : 0;
  runs_max = std::clamp<std::size_t>(runs_max, 1, kProvisioningRunsMax);
  const auto runs = co_await volume_.provisioning(cdb.first, runs_max);
  if (!runs) co_return finish(*command, volume_error(runs.error(), Direction::read, cdb.first));
  std::vector<std::byte> out(kHeader);
  std::uint64_t next = cdb.first.value;
  for (const ProvisioningRun& run : *runs) {
    const std::uint64_t end = run.range.end().value;
    if (end <= next) continue;
    const std::size_t at = out.size();
    out.resize(at + kDescriptor);
    const std::uint64_t blocks = std::min<std::uint64_t>(end - next, 0xffffffff);
    store_be<std::uint64_t>(&out[at], next);
    store_be<std::uint32_t>(&out[at + 8], static_cast<std::uint32_t>(blocks));
    out[at + 12] = std::byte(run.mapped ? 0 : 1);
    next += blocks;
    if (next < end) break;  // What does not fit one descriptor is asked for again.
  }
  store_be<std::uint32_t>(&out[0], static_cast<std::uint32_t>(out.size() - 4));
  co_await reply(command, std::move(out), allocation);
}

Task<Verdict> Server::copy_segment(Command* command, BlockRange from, Lba to) {
  for (std::uint64_t done = 0; done < from.count.value; done += kPieceBlocks) {
    if (outdated(*command)) co_return outdated_verdict(*command);
    const BlockRange source = next_piece(from, done, kPieceBlocks);
    const BlockRange target{Lba(to.value + done), source.count};
    Buffer buffer = co_await acquire_work(command, source.count.value * kBlockBytes);
    if (!buffer) co_return without_memory(*command);
    const Result<void> read = co_await volume_.read(source, buffer);
    if (!read) co_return volume_error(read.error(), Direction::read, source.first);
    if (outdated(*command)) co_return outdated_verdict(*command);
    // A reservation may have been taken between two pieces.
    if (Verdict v = check_reservations(*command->nexus, Access::write); !v.ok()) co_return v;
    const Result<void> written = co_await volume_.write(target, std::move(buffer));
    if (!written) co_return volume_error(written.error(), Direction::write, target.first);
  }
  co_return go_on();
}

}  // namespace holdfast::scsi
