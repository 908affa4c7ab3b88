#include "test/cluster/history.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "test/crash/content.h"
#include "test/sim/image.h"
#include "test/sim/text.h"

namespace holdfast::cluster {

std::string_view op_kind_name(OpKind kind) {
  constexpr std::string_view names[] = {"read", "write", "write same", "unmap", "compare and write"};
  return names[static_cast<std::size_t>(kind)];
}

OpId History::begin(ClientOp op) {
  op.invoked = ++tick_;
  ops_.push_back(std::move(op));
  return static_cast<OpId>(ops_.size() - 1);
}

void History::end(OpId id, Outcome outcome, BootNs now) {
  ClientOp& op = ops_[id];
  ENSURE(op.outcome == Outcome::pending);
  op.outcome = outcome;
  op.responded_at = now;
  if (outcome == Outcome::done) op.responded = ++tick_;
}

namespace {

// Which block of the operation's content lies at a block of its range.
std::uint64_t content_index(const ClientOp& op, std::uint64_t i) { return op.kind == OpKind::write_same ? 0 : i; }

}  // namespace

void History::fill(OpId id, Buffer into) const {
  const ClientOp& op = ops_[id];
  for (std::uint64_t i = 0; i < into.size() / kBlockBytes; ++i) crash::stamp_block(into.data() + i * kBlockBytes, id, content_index(op, i));
}

std::optional<std::string> History::recognise(std::uint32_t volume, BlockRange range, const Buffer& from, std::vector<OpId>* seen) const {
  seen->assign(range.count.value, 0);
  alignas(64) std::byte expected[kBlockBytes];
  for (std::uint64_t i = 0; i < range.count.value; ++i) {
    const std::byte* block = from.data() + i * kBlockBytes;
    if (std::memcmp(block, sim::PageRef::zero_block(), kBlockBytes) == 0) continue;
    const std::uint64_t stamp = load_le<std::uint64_t>(block);
    const std::uint64_t lba = range.first.value + i;
    if (stamp == 0 || stamp >= ops_.size()) return sim::format("block {} of volume {} holds what nobody wrote", lba, volume);
    const ClientOp& op = ops_[stamp];
    if (op.volume != volume || lba < op.range.first.value || lba >= op.range.end().value)
      return sim::format("block {} of volume {} holds what was written elsewhere: {}", lba, volume, line(static_cast<OpId>(stamp)));
    crash::stamp_block(expected, static_cast<OpId>(stamp), content_index(op, lba - op.range.first.value));
    if (std::memcmp(block, expected, kBlockBytes) != 0)
      return sim::format("block {} of volume {} is torn: {}", lba, volume, line(static_cast<OpId>(stamp)));
    (*seen)[i] = static_cast<OpId>(stamp);
  }
  return std::nullopt;
}

std::uint64_t History::count(Outcome outcome) const {
  return static_cast<std::uint64_t>(std::count_if(ops_.begin() + 1, ops_.end(), [&](const ClientOp& op) { return op.outcome == outcome; }));
}

namespace {

// What an operation is to one of its blocks.
std::optional<RegisterOp> register_op(const ClientOp& op, OpId id, std::uint64_t index) {
  if (op.outcome == Outcome::refused) return std::nullopt;
  const bool done = op.outcome == Outcome::done;
  RegisterOp out;
  out.source = id;
  out.invoked = op.invoked;
  out.responded = done ? op.responded : kNever;
  switch (op.kind) {
    case OpKind::read:
      if (!done) return std::nullopt;
      out.kind = RegisterOp::Kind::read;
      out.value = op.seen[index];
      break;
    case OpKind::unmap: out.value = kZeros; break;
    case OpKind::compare_and_write:
      out.kind = RegisterOp::Kind::swap;
      out.expected = op.seen[index];
      out.value = id;
      break;
    default: out.value = id; break;
  }
  return out;
}

}  // namespace

std::optional<std::string> History::judge() const {
  std::vector<std::vector<std::vector<RegisterOp>>> blocks;
  for (OpId id = 1; id < ops_.size(); ++id) {
    const ClientOp& op = ops_[id];
    if (blocks.size() <= op.volume) blocks.resize(op.volume + 1);
    auto& of_volume = blocks[op.volume];
    if (of_volume.size() < op.range.end().value) of_volume.resize(op.range.end().value);
    for (std::uint64_t i = 0; i < op.range.count.value; ++i)
      if (auto as_register = register_op(op, id, i)) of_volume[op.range.first.value + i].push_back(*as_register);
  }
  for (std::uint32_t volume = 0; volume < blocks.size(); ++volume)
    for (std::uint64_t block = 0; block < blocks[volume].size(); ++block) {
      const Judgement judgement = judge_register(std::move(blocks[volume][block]));
      undecided_ += judgement.verdict == Verdict::undecided;
      if (judgement.verdict == Verdict::violated)
        return sim::format("block {} of volume {} is not linearizable: {}\n{}", block, volume, judgement.why, story_of(volume, Lba(block)));
    }
  return std::nullopt;
}

std::string History::line(OpId id) const {
  const ClientOp& op = ops_[id];
  constexpr std::string_view outcomes[] = {"pending", "done", "refused", "unknown"};
  const auto ms = [](BootNs t) { return static_cast<double>(t.value - 1'000'000'000) / 1e6; };
  return sim::format("operation {}: client {} {} {}+{} of volume {} at node {}, called at {} ms [{}], {} at {} ms [{}]", id, op.client,
                     op_kind_name(op.kind), op.range.first.value, op.range.count.value, op.volume, op.node.value, ms(op.invoked_at), op.invoked,
                     outcomes[static_cast<std::size_t>(op.outcome)], ms(op.responded_at), op.responded == kNever ? -1 : op.responded);
}

std::string History::story_of(std::uint32_t volume, Lba block) const {
  std::string story;
  for (OpId id = 1; id < ops_.size(); ++id) {
    const ClientOp& op = ops_[id];
    if (op.volume != volume || block < op.range.first || block >= op.range.end() || op.outcome == Outcome::refused) continue;
    story += "  " + line(id);
    if (!op.seen.empty()) story += sim::format(", saw {}", op.seen[block.value - op.range.first.value]);
    story += "\n";
  }
  return story;
}

}  // namespace holdfast::cluster
