#include "test/cluster/history.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checksum.h"
#include "test/crash/content.h"
#include "test/sim/image.h"
#include "test/sim/text.h"

namespace holdfast::cluster {

std::string_view op_kind_name(OpKind kind) {
  constexpr std::string_view names[] = {"read", "write", "write same", "unmap", "compare and write", "or write", "reserve", "read reservations"};
  static_assert(std::size(names) == kOpKinds);
  return names[static_cast<std::size_t>(kind)];
}

OpId History::begin(ClientOp op) {
  op.invoked = ++tick_;
  if (op.kind == OpKind::or_write) op.bit = next_bit_++;
  ops_.push_back(std::move(op));
  return static_cast<OpId>(ops_.size() - 1);
}

void History::end(OpId id, Outcome outcome, BootNs now) {
  ClientOp& op = ops_[id];
  ENSURE(op.outcome == Outcome::pending);
  op.outcome = outcome;
  op.responded_at = now;
  if (outcome == Outcome::done || op.differs_at) op.responded = ++tick_;
}

namespace {

// Which block of the operation's content lies at a block of its range.
std::uint64_t content_index(const ClientOp& op, std::uint64_t i) { return op.kind == OpKind::write_same ? 0 : i; }

}  // namespace

void History::fill(OpId id, Buffer into) const {
  const ClientOp& op = ops_[id];
  if (op.kind == OpKind::or_write) {
    ENSURE(op.bit < kBlockBytes * 8);
    std::memset(into.data(), 0, into.size());
    for (std::uint64_t i = 0; i < into.size() / kBlockBytes; ++i) into.data()[i * kBlockBytes + op.bit / 8] = std::byte(1u << op.bit % 8);
    return;
  }
  for (std::uint64_t i = 0; i < into.size() / kBlockBytes; ++i) crash::stamp_block(into.data() + i * kBlockBytes, id, content_index(op, i));
}

std::optional<std::string> History::recognise(std::uint32_t volume, BlockRange range, const Buffer& from, std::vector<OpId>* seen) const {
  seen->assign(range.count.value, 0);
  for (std::uint64_t i = 0; i < range.count.value; ++i)
    if (auto wrong = recognise_block(volume, Lba(range.first.value + i), from.data() + i * kBlockBytes, &(*seen)[i])) return wrong;
  return std::nullopt;
}

std::optional<std::string> History::recognise_block(std::uint32_t volume, Lba lba, const std::byte* block, OpId* seen) const {
  alignas(64) std::byte expected[kBlockBytes];
  if (std::memcmp(block, sim::PageRef::zero_block(), kBlockBytes) == 0) return std::nullopt;
  const std::uint64_t stamp = load_le<std::uint64_t>(block);
  if (stamp == 0 || stamp >= ops_.size()) return sim::format("block {} of volume {} holds what nobody wrote", lba.value, volume);
  const ClientOp& op = ops_[stamp];
  if (op.volume != volume || lba < op.range.first || lba >= op.range.end())
    return sim::format("block {} of volume {} holds what was written elsewhere: {}", lba.value, volume, line(static_cast<OpId>(stamp)));
  crash::stamp_block(expected, static_cast<OpId>(stamp), content_index(op, lba.value - op.range.first.value));
  if (std::memcmp(block, expected, kBlockBytes) != 0)
    return sim::format("block {} of volume {} is torn: {}", lba.value, volume, line(static_cast<OpId>(stamp)));
  if (seen) *seen = static_cast<OpId>(stamp);
  return std::nullopt;
}

// Of many sizes, up to the largest.
std::vector<std::byte> History::reservations_of(OpId id) const {
  std::vector<std::byte> state(round_up(Volume::kReservationBytesMax, kBlockBytes));
  for (std::uint64_t i = 0; i < state.size() / kBlockBytes; ++i) crash::stamp_block(state.data() + i * kBlockBytes, id, i);
  const std::uint64_t draw = sim::mix(id);
  state.resize(draw % 4 == 0 ? Volume::kReservationBytesMax : 8 + draw / 4 % (draw % 4 == 1 ? Volume::kReservationBytesMax - 8 : 500));
  return state;
}

std::optional<std::string> History::recognise_reservations(std::uint32_t volume, Bytes state, std::vector<OpId>* seen) const {
  seen->assign(1, 0);
  if (state.empty()) return std::nullopt;
  const std::uint64_t stamp = state.size() < 8 ? 0 : load_le<std::uint64_t>(state.data());
  if (stamp == 0 || stamp >= ops_.size()) return sim::format("the reservations of volume {} are what nobody stored", volume);
  const ClientOp& op = ops_[stamp];
  const std::vector<std::byte> expected = reservations_of(static_cast<OpId>(stamp));
  if (op.kind != OpKind::reserve || op.volume != volume || !std::equal(state.begin(), state.end(), expected.begin(), expected.end()))
    return sim::format("the reservations of volume {} are not as they were stored: {}", volume, line(static_cast<OpId>(stamp)));
  seen->front() = static_cast<OpId>(stamp);
  return std::nullopt;
}

std::vector<std::vector<std::uint64_t>> History::bits_of(const Buffer& from) {
  std::vector<std::vector<std::uint64_t>> all(from.size() / kBlockBytes, std::vector<std::uint64_t>(kBlockBytes / 8));
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::memcpy(all[i].data(), from.data() + i * kBlockBytes, kBlockBytes);
    while (!all[i].empty() && all[i].back() == 0) all[i].pop_back();
  }
  return all;
}

std::uint64_t History::count(Outcome outcome) const {
  return static_cast<std::uint64_t>(std::count_if(ops_.begin() + 1, ops_.end(), [&](const ClientOp& op) { return op.outcome == outcome; }));
}

namespace {

// What an operation is to one of its blocks.
std::optional<RegisterOp> register_op(const ClientOp& op, OpId id, std::uint64_t index) {
  if (op.outcome == Outcome::refused && !op.differs_at) return std::nullopt;
  const bool done = op.outcome == Outcome::done;
  RegisterOp out;
  out.source = id;
  out.invoked = op.invoked;
  out.responded = done ? op.responded : kNever;
  if (op.differs_at) {  // It has read, up to the first block that was another one; nothing is known of those behind.
    if (index > *op.differs_at) return std::nullopt;
    out.responded = op.responded;
    out.kind = index == *op.differs_at ? RegisterOp::Kind::differs : RegisterOp::Kind::read;
    out.value = out.expected = op.seen[index];
    return out;
  }
  switch (op.kind) {
    case OpKind::read:
    case OpKind::read_reservations:
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

// Who reads a volume that somebody was told to be gone?
std::optional<std::string> History::judge_the_gone() const {
  for (OpId id = 1; id < ops_.size(); ++id) {
    const auto gone = gone_.find(ops_[id].volume);
    const bool answered = ops_[id].outcome == Outcome::done || ops_[id].differs_at;
    if (gone != gone_.end() && answered && ops_[id].invoked > gone->second) return "a volume is answered for that was deleted: " + line(id);
  }
  return std::nullopt;
}

std::optional<std::string> History::judge_bit_blocks() const {
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::vector<BitsOp>> blocks;
  for (OpId id = 1; id < ops_.size(); ++id) {
    const ClientOp& op = ops_[id];
    const bool sets = op.kind == OpKind::or_write, reads = op.kind == OpKind::read && !op.seen_bits.empty();
    if ((!sets && !reads) || op.outcome == Outcome::refused) continue;
    for (std::uint64_t i = 0; i < op.range.count.value; ++i) {
      BitsOp as_bits{sets ? BitsOp::Kind::set : BitsOp::Kind::read, op.bit, {}, op.invoked, op.outcome == Outcome::done ? op.responded : kNever, id};
      if (reads) as_bits.bits = op.seen_bits[i];
      blocks[{op.volume, op.range.first.value + i}].push_back(std::move(as_bits));
    }
  }
  for (const auto& [place, ops] : blocks) {
    const Judgement judgement = judge_bits(ops);
    if (judgement.verdict == Verdict::violated)
      return sim::format("block {} of volume {} was not ORed into as it should: {}\n{}", place.second, place.first, judgement.why,
                         story_of(place.first, Lba(place.second)));
  }
  return std::nullopt;
}

std::optional<std::string> History::judge() const {
  if (auto wrong = judge_the_gone()) return wrong;
  if (auto wrong = judge_bit_blocks()) return wrong;
  std::vector<std::vector<std::vector<RegisterOp>>> blocks;
  for (OpId id = 1; id < ops_.size(); ++id) {
    const ClientOp& op = ops_[id];
    if (op.kind == OpKind::or_write || !op.seen_bits.empty() || (is_bits(op.range) && op.kind == OpKind::read)) continue;
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

std::optional<std::string> History::judge_whole(std::uint32_t volume, const std::vector<OpId>& stamps) const {
  const auto may_have_emptied = [&](std::uint64_t block, Tick since) {
    return std::any_of(ops_.begin() + 1, ops_.end(), [&](const ClientOp& op) {
      const bool here = op.kind == OpKind::unmap && op.volume == volume && block >= op.range.first.value && block < op.range.end().value;
      return here && op.outcome != Outcome::refused && (op.outcome != Outcome::done || op.responded > since);
    });
  };
  OpId last = 0;
  for (const OpId id : stamps) {
    const ClientOp& op = ops_[id];
    if (id == std::exchange(last, id) || (op.kind != OpKind::write && op.kind != OpKind::compare_and_write)) continue;
    for (std::uint64_t block = op.range.first.value; block < std::min<std::uint64_t>(op.range.end().value, stamps.size()); ++block) {
      const OpId beside = stamps[block];
      if (beside == id) continue;
      const bool older = beside != 0 ? ops_[beside].outcome == Outcome::done && ops_[beside].responded < op.invoked : !may_have_emptied(block, op.invoked);
      if (older)
        return sim::format("a write is there in part: block {} of volume {} is of operation {}, beside it is all or some of\n  {}\n{}", block, volume, beside, line(id),
                           story_of(volume, Lba(block)));
    }
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
    if (op.volume != volume || block < op.range.first || block >= op.range.end() || (op.outcome == Outcome::refused && !op.differs_at)) continue;
    story += "  " + line(id);
    if (op.differs_at) story += sim::format(", differs at its block {}", *op.differs_at);
    if (op.kind == OpKind::or_write) story += sim::format(", bit {}", op.bit);
    if (!op.seen.empty()) story += sim::format(", saw {}", op.seen[block.value - op.range.first.value]);
    story += "\n";
  }
  return story;
}

}  // namespace holdfast::cluster
