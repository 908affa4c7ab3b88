#include "test/crash/ledger.h"

#include <algorithm>


#include "base/checksum.h"
#include "base/ensure.h"
#include "test/sim/text.h"

namespace holdfast::crash {

std::string_view op_kind_name(OpKind kind) {
  constexpr std::string_view names[] = {"none", "write", "write-same", "unmap", "compare-and-write",
                                        "or-write", "read", "create", "delete", "reservations"};
  return names[static_cast<std::size_t>(kind)];
}

Ledger::Ledger() { ops_.emplace_back(); }

Ledger::Block* Ledger::VolumeState::find(Lba block) {
  std::size_t before = 0;
  for (const BlockRange& window : facts.windows) {
    if (block >= window.first && block < window.end()) return &blocks[before + (block.value - window.first.value)];
    before += window.count.value;
  }
  return nullptr;
}

// Visits the blocks of an operation that lie in windows: visit(block, index within the operation, lba).
template <class Visit>
void Ledger::for_each_block(const Op& op, Visit visit) {
  VolumeState& volume = volumes_[op.volume];
  std::size_t before = 0;
  for (const BlockRange& window : volume.facts.windows) {
    const std::uint64_t first = std::max(window.first.value, op.range.first.value);
    const std::uint64_t end = std::min(window.end().value, op.range.end().value);
    for (std::uint64_t lba = first; lba < end; ++lba)
      visit(volume.blocks[before + (lba - window.first.value)], lba - op.range.first.value, Lba(lba));
    before += window.count.value;
  }
}

void Ledger::report(std::string violation) {
  if (!violation_) violation_ = std::move(violation);
}

OpId Ledger::add(OpKind kind, VolumeKey volume, BlockRange range) {
  const auto op = static_cast<OpId>(ops_.size());
  ops_.push_back(Op{kind, Outcome::pending, volume, range, ++tick_, kNever, life_});
  active_.insert(tick_);
  return op;
}

void Ledger::close(OpId op, Outcome outcome) {
  const auto active = active_.find(ops_[op].begin);
  ENSURE(active != active_.end());
  active_.erase(active);
  ops_[op].end = ++tick_;
  ops_[op].outcome = outcome;
}

VolumeKey Ledger::begin_create(std::string name, Uuid uuid, BlockCount capacity, Windows windows) {
  ++tick_;
  VolumeState state;
  state.facts = Volume{std::move(name), uuid, capacity, std::move(windows), Existence::creating};
  std::size_t blocks = 0;
  for (const BlockRange& window : state.facts.windows) blocks += window.count.value;
  state.blocks.resize(blocks);
  for (Block& block : state.blocks) block.candidates.push_back(Candidate{0, xxh3_zero_block(), tick_, tick_});
  state.reservations.candidates.push_back(Candidate{0, xxh3({}), tick_, tick_});
  volumes_.push_back(std::move(state));
  return static_cast<VolumeKey>(volumes_.size() - 1);
}

void Ledger::end_create(VolumeKey volume, Outcome outcome) {
  ++tick_;
  if (outcome == Outcome::acked) volumes_[volume].facts.existence = Existence::present;
  if (outcome == Outcome::refused) volumes_[volume].facts.existence = Existence::absent;
}

void Ledger::begin_delete(VolumeKey volume) {
  ++tick_;
  volumes_[volume].facts.existence = Existence::deleting;
}

void Ledger::end_delete(VolumeKey volume, Outcome outcome) {
  ++tick_;
  if (outcome == Outcome::acked) volumes_[volume].facts.existence = Existence::absent;
  if (outcome == Outcome::refused) volumes_[volume].facts.existence = Existence::present;
}

void Ledger::found_after_recovery(VolumeKey key, bool found) {
  Volume& facts = volumes_[key].facts;
  if (facts.existence == Existence::present && !found) report(sim::format("volume {} is gone", facts.name));
  if (facts.existence == Existence::absent && found) report(sim::format("deleted volume {} is back", facts.name));
  facts.existence = found ? Existence::present : Existence::absent;
}

OpId Ledger::begin_write(OpKind kind, VolumeKey volume, BlockRange range, std::vector<std::uint64_t> hashes) {
  const OpId op = add(kind, volume, range);
  pending_.insert(op);
  recent_.push_back(op);
  for_each_block(ops_[op], [&](Block& block, std::size_t index, Lba) {
    block.candidates.push_back(Candidate{op, hashes[hashes.size() == 1 ? 0 : index], kNever, tick_});
  });
  return op;
}

Ledger::Candidate* Ledger::find_candidate(Block& block, OpId op) {
  for (Candidate& candidate : block.candidates)
    if (candidate.op == op) return &candidate;
  return nullptr;
}

void Ledger::end_write(OpId op, Outcome outcome) {
  close(op, outcome);
  if (outcome == Outcome::unknown) return;
  pending_.erase(op);
  if (outcome == Outcome::acked) ++acked_writes_;
  if (ops_[op].kind == OpKind::reservations) {
    Block& block = volumes_[ops_[op].volume].reservations;
    if (outcome == Outcome::acked) return acknowledge(block, op);
    std::erase_if(block.candidates, [op](const Candidate& c) { return c.op == op; });
    return;
  }
  for_each_block(ops_[op], [&](Block& block, std::size_t, Lba lba) {
    if (outcome == Outcome::acked) return acknowledge(block, op);
    const Candidate* candidate = find_candidate(block, op);
    if (candidate && candidate->first_end != kNever)
      report(sim::format("block {} was read as {}, which was then refused", lba.value, describe(op)));
    std::erase_if(block.candidates, [op](const Candidate& c) { return c.op == op; });
  });
}

void Ledger::acknowledge(Block& block, OpId op) {
  if (Candidate* candidate = find_candidate(block, op)) candidate->first_end = std::min(candidate->first_end, tick_);
  prune(block);
}

// Forgets values that no later read may return: another one began after them and is known to every call under way.
void Ledger::prune(Block& block) {
  if (block.candidates.size() < 2) return;
  const Tick oldest = oldest_active();
  std::erase_if(block.candidates, [&](const Candidate& old) {
    return std::any_of(block.candidates.begin(), block.candidates.end(), [&](const Candidate& newer) {
      return old.first_end < newer.last_begin && ops_[newer.op].begin > old.first_end && newer.first_end < oldest &&
             newer.op != old.op;
    });
  });
}

bool Ledger::conflicts(const Block& block, const Candidate& value) const {
  return std::any_of(block.candidates.begin(), block.candidates.end(), [&](const Candidate& other) {
    return other.op != value.op && value.first_end < other.last_begin && other.first_end < value.last_begin;
  });
}

// A value was read between begin and end. False: no order of the operations allows it.
bool Ledger::observe(Block& block, std::uint64_t hash, Tick begin, Tick end) {
  std::size_t matches = 0;
  Candidate* match = nullptr;
  for (Candidate& candidate : block.candidates) {
    if (candidate.hash != hash) continue;
    Candidate observed = candidate;
    observed.first_end = std::min({observed.first_end, end, observed.cap});
    observed.last_begin = std::max(observed.last_begin, begin);
    if (conflicts(block, observed)) continue;
    ++matches;
    match = &candidate;
  }
  if (!match) return false;
  if (verifying_) block.seen = matches == 1 ? static_cast<std::int64_t>(match->op) : kManyZeros;
  if (matches > 1) return true;  // Zeros of several unmaps: which one it was stays open.
  match->first_end = std::min({match->first_end, end, match->cap});
  match->last_begin = std::max(match->last_begin, begin);
  return true;
}

OpId Ledger::begin_read(VolumeKey volume, BlockRange range) { return add(OpKind::read, volume, range); }

void Ledger::end_read(OpId op, const std::vector<std::uint64_t>& hashes, const std::vector<OpId>& stamps) {
  close(op, Outcome::acked);
  const Op read = ops_[op];
  for_each_block(read, [&](Block& block, std::size_t index, Lba lba) {
    if (observe(block, hashes[index], read.begin, read.end)) return;
    const bool zero = hashes[index] == xxh3_zero_block();
    std::string found = zero ? "zeros" : sim::format("something that looks like {}", describe(stamps[index]));
    report(sim::format("volume {} block {}: read {} at {}..{}, allowed: {}", volumes_[read.volume].facts.name, lba.value,
                       found, read.begin, read.end, candidates_text(block)) +
           "\n" + block_story(read.volume, lba));
  });
}

void Ledger::end_read_failed(OpId op) { close(op, Outcome::refused); }

void Ledger::end_compare_matched(OpId op, const std::vector<std::uint64_t>& expected) {
  const Tick begin = ops_[op].begin;
  for_each_block(ops_[op], [&](Block& block, std::size_t index, Lba lba) {
    if (!observe(block, expected[index], begin, tick_ + 1))
      return report(sim::format("block {}: {} matched a value that was no longer there", lba.value, describe(op)));
    for (Candidate& candidate : block.candidates) {
      if (candidate.hash != expected[index] || candidate.hash == xxh3_zero_block()) continue;
      if (candidate.consumed) report(sim::format("block {}: two compare-and-writes both replaced {}", lba.value, describe(candidate.op)));
      candidate.consumed = true;
    }
  });
  end_write(op, Outcome::acked);
}

OpId Ledger::begin_reservations(VolumeKey volume, std::uint64_t hash) {
  const OpId op = add(OpKind::reservations, volume, BlockRange{});
  pending_.insert(op);
  volumes_[volume].reservations.candidates.push_back(Candidate{op, hash, kNever, tick_});
  return op;
}

void Ledger::check_reservations(VolumeKey volume, std::uint64_t hash) {
  Block& block = volumes_[volume].reservations;
  ++tick_;
  if (!observe(block, hash, tick_, tick_))
    report(sim::format("volume {}: its reservations are none of {}", volumes_[volume].facts.name, candidates_text(block)));
}

void Ledger::crash() {
  ++tick_;
  ++life_;
  active_.clear();
  for (const OpId op : pending_) {
    limbo_.insert(op);
    const auto cap = [&](Block& block, std::size_t, Lba) {
      if (Candidate* candidate = find_candidate(block, op)) candidate->cap = std::min(candidate->cap, tick_);
    };
    if (ops_[op].kind == OpKind::reservations) cap(volumes_[ops_[op].volume].reservations, 0, Lba());
    else for_each_block(ops_[op], cap);
  }
  pending_.clear();
}

void Ledger::forgive(OpId op) {
  limbo_.insert(op);
  for_each_block(ops_[op], [&](Block& block, std::size_t, Lba) {
    for (Candidate& candidate : block.candidates)
      if (candidate.op == op && candidate.last_begin == ops_[op].begin) candidate.first_end = kNever;
  });
}

void Ledger::begin_verification() {
  ENSURE(active_.empty());
  verifying_ = true;
  for (VolumeState& volume : volumes_)
    for (Block& block : volume.blocks) block.seen = -1;
}

void Ledger::end_verification() {
  for (const OpId op : limbo_) check_atomic(op);
  for (std::size_t i = 0; i < recent_.size(); ++i)
    for (std::size_t j = i + 1; j < recent_.size(); ++j) check_order(recent_[i], recent_[j]);
  for (VolumeState& volume : volumes_) settle(volume);
  limbo_.clear();
  recent_.clear();
  verifying_ = false;
}

// A write that the crash interrupted: where it is not to be seen, something later must be, or else it is to be seen nowhere.
void Ledger::check_atomic(OpId id) {
  const Op op = ops_[id];
  if (op.kind != OpKind::write && op.kind != OpKind::compare_and_write && op.kind != OpKind::or_write) return;
  if (volumes_[op.volume].facts.existence != Existence::present) return;
  std::optional<Lba> there;
  std::optional<Lba> missing;
  for_each_block(op, [&](Block& block, std::size_t, Lba lba) {
    if (block.seen == static_cast<std::int64_t>(id)) there = lba;
    if (block.seen < 0) return;
    const Candidate* winner = find_candidate(block, static_cast<OpId>(block.seen));
    if (winner && winner->op != id && winner->first_end < op.begin) missing = lba;
  });
  if (there && missing)
    report(sim::format("torn: {} is at block {} but not at block {}", describe(id), there->value, missing->value) + "\n" +
           block_story(op.volume, *missing));
}

// Two overlapping writes: one of them came last, and it did so everywhere.
void Ledger::check_order(OpId a, OpId b) {
  const Op& first = ops_[a];
  const Op& second = ops_[b];
  if (first.volume != second.volume || !ranges_overlap(first.range, second.range)) return;
  const auto whole = [](OpKind kind) { return kind == OpKind::write || kind == OpKind::compare_and_write || kind == OpKind::or_write; };
  if (!whole(first.kind) || !whole(second.kind)) return;
  std::optional<Lba> shows_a;
  std::optional<Lba> shows_b;
  for_each_block(first, [&](Block& block, std::size_t, Lba lba) {
    if (lba < second.range.first || lba >= second.range.end()) return;
    if (block.seen == static_cast<std::int64_t>(a)) shows_a = lba;
    if (block.seen == static_cast<std::int64_t>(b)) shows_b = lba;
  });
  if (shows_a && shows_b)
    report(sim::format("mixed: block {} shows {} and block {} shows {}, and both wrote both", shows_a->value, describe(a),
                       shows_b->value, describe(b)));
}

// Everything has been read and nothing is under way: what was seen is what there is.
void Ledger::settle(VolumeState& volume) {
  for (Block& block : volume.blocks) {
    if (block.seen == kManyZeros) block.candidates.assign(1, Candidate{0, xxh3_zero_block(), tick_, tick_});
    if (block.seen >= 0) std::erase_if(block.candidates, [&](const Candidate& c) { return c.op != static_cast<OpId>(block.seen); });
  }
}

std::string Ledger::describe(OpId id) const {
  if (id == 0) return "nothing written";
  if (id >= ops_.size()) return "no known operation";
  const Op& op = ops_[id];
  std::string end = op.end == kNever ? std::string("…") : std::to_string(op.end);
  const char* outcome = op.outcome == Outcome::acked ? "acked" : op.outcome == Outcome::refused ? "refused"
                        : op.outcome == Outcome::unknown ? "failed" : "unanswered";
  return sim::format("#{} {} [{}+{}] {} {}..{} life {}", id, op_kind_name(op.kind), op.range.first.value, op.range.count.value,
                     outcome, op.begin, end, op.life);
}

std::string Ledger::candidates_text(const Block& block) const {
  std::string text;
  for (const Candidate& candidate : block.candidates) {
    text += text.empty() ? "" : "; ";
    text += (candidate.hash == xxh3_zero_block() ? "zeros of " : "") + describe(candidate.op);
  }
  return text.empty() ? "nothing" : text;
}

std::string Ledger::story(std::size_t last) const {
  std::string text;
  for (std::size_t i = ops_.size() > last ? ops_.size() - last : 1; i < ops_.size(); ++i)
    text += sim::format("  vol {} {}\n", ops_[i].volume, describe(static_cast<OpId>(i)));
  return text;
}

std::string Ledger::block_story(VolumeKey volume, Lba block) const {
  std::string text = sim::format("  history of block {}:\n", block.value);
  for (std::size_t i = 1; i < ops_.size(); ++i) {
    const Op& op = ops_[i];
    if (op.volume != volume || op.kind == OpKind::reservations || block < op.range.first || block >= op.range.end()) continue;
    text += sim::format("    {}\n", describe(static_cast<OpId>(i)));
  }
  return text;
}

}  // namespace holdfast::crash
