#include "test/cluster/linearizability.h"

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/ensure.h"
#include "test/sim/random.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

using Kind = RegisterOp::Kind;

constexpr std::uint64_t kSearchStepsMax = 300'000;

Judgement violated(std::string why) { return Judgement{Verdict::violated, std::move(why)}; }

bool reads(const RegisterOp& op) { return op.kind == Kind::read || op.kind == Kind::swap; }
bool writes(const RegisterOp& op) { return op.kind == Kind::write || op.kind == Kind::swap; }
bool certain(const RegisterOp& op) { return op.responded != kNever; }
std::uint64_t value_read(const RegisterOp& op) { return op.kind == Kind::read ? op.value : op.expected; }

}  // namespace

// Settles what is certain: a write whose value was read took effect before that read returned; an unknown one that nobody
// read need not have happened, unless it may be what somebody found instead of the expected. What else may or may not have
// happened afterwards are writes of zeros alone.
std::optional<Judgement> prepare(std::vector<RegisterOp>& ops) {
  std::erase_if(ops, [](const RegisterOp& op) { return !writes(op) && !certain(op); });
  // A swap of unknown outcome reads only if it happened: that is known when its value was read. Again until nothing changes.
  for (bool changed = true; changed;) {
    changed = false;
    std::unordered_map<std::uint64_t, Tick> first_read;
    for (const RegisterOp& op : ops) {
      if (!reads(op) || (op.kind == Kind::swap && op.responded == kNever)) continue;
      const auto [at, fresh] = first_read.try_emplace(value_read(op), op.responded);
      if (!fresh) at->second = std::min(at->second, op.responded);
    }
    for (RegisterOp& op : ops) {
      if (!writes(op) || op.value == kZeros) continue;
      const auto found = first_read.find(op.value);
      if (found == first_read.end() || found->second >= op.responded) continue;
      if (found->second < op.invoked) return violated(sim::format("operation {} was read before it was called", op.source));
      op.responded = found->second;
      changed = true;
    }
  }
  Tick last_difference = -1;
  for (const RegisterOp& op : ops)
    if (op.kind == Kind::differs) last_difference = std::max(last_difference, op.responded);
  std::erase_if(ops, [=](const RegisterOp& op) { return !certain(op) && op.value != kZeros && op.invoked > last_difference; });
  std::unordered_set<std::uint64_t> written{kZeros};
  for (const RegisterOp& op : ops)
    if (writes(op)) written.insert(op.value);
  for (const RegisterOp& op : ops)
    if (reads(op) && certain(op) && !written.contains(value_read(op))) return violated(sim::format("operation {} read {}, which nobody wrote", op.source, value_read(op)));
  return std::nullopt;
}

// The zone of a value reaches from the first return to the last call among the operations on it.
Judgement judge_by_zones(std::span<const RegisterOp> ops) {
  struct Zone {
    std::uint64_t value;
    Tick first_return, last_call;
    std::uint32_t returned_by, called_by;
    bool forward() const { return first_return < last_call; }
    Tick low() const { return std::min(first_return, last_call); }
    Tick high() const { return std::max(first_return, last_call); }
  };
  std::unordered_map<std::uint64_t, std::size_t> index;
  std::vector<Zone> zones{{kZeros, -1, -2, 0, 0}};
  index[kZeros] = 0;
  for (const RegisterOp& op : ops) {
    ENSURE(op.kind != Kind::swap && op.kind != Kind::differs && (op.kind == Kind::read || op.value != kZeros));
    const auto [at, fresh] = index.try_emplace(op.value, zones.size());
    if (fresh) zones.push_back({op.value, op.responded, op.invoked, op.source, op.source});
    Zone& zone = zones[at->second];
    if (op.responded < zone.first_return) zone.first_return = op.responded, zone.returned_by = op.source;
    if (op.invoked > zone.last_call) zone.last_call = op.invoked, zone.called_by = op.source;
  }
  const auto stale = [](const Zone& a, const Zone& b) {
    return violated(sim::format("value {} was there (operation {}) and again (operation {}), with value {} in between (operation {})", a.value,
                                a.returned_by, a.called_by, b.value, b.returned_by));
  };
  std::sort(zones.begin(), zones.end(), [](const Zone& a, const Zone& b) { return a.low() < b.low(); });
  const Zone* open = nullptr;  // The forward zone that reaches furthest.
  for (const Zone& zone : zones) {
    if (open && open->high() > zone.low() && (zone.forward() || zone.high() < open->high())) return stale(*open, zone);
    if (zone.forward() && (!open || zone.high() > open->high())) open = &zone;
  }
  return {};
}

namespace {

// Looks for an order. What was tried in vain is remembered.
class Search {
 public:
  explicit Search(std::span<const RegisterOp> ops) : ops_(ops.begin(), ops.end()), done_(ops_.size()) {
    std::sort(ops_.begin(), ops_.end(), [](const RegisterOp& a, const RegisterOp& b) { return a.invoked < b.invoked; });
    for (const RegisterOp& op : ops_) {
      left_ += certain(op);
      if (reads(op) && certain(op)) ++readers_[value_read(op)];
      if (op.kind == Kind::differs) ++leavers_[op.expected];
    }
  }

  Judgement run() {
    const bool found = from(kZeros);
    if (found) return {};
    if (steps_ > kSearchStepsMax) return Judgement{Verdict::undecided, "too many orders to try"};
    return violated(sim::format("no order of the operations explains operation {}", ops_[furthest_].source));
  }

 private:
  // Tries every order of what is left, with the register at `value`.
  bool from(std::uint64_t value) {
    if (++steps_ > kSearchStepsMax) return false;
    std::vector<std::size_t> read_here;
    take_reads(value, read_here);
    bool found = left_ == 0;
    if (!found && tried_.insert(fingerprint(value)).second) found = try_writes(value);
    if (found) return true;
    for (const std::size_t i : read_here) put_back(i);
    return false;
  }

  // A read that fits now loses nothing by being next.
  void take_reads(std::uint64_t value, std::vector<std::size_t>& taken) {
    const Tick bound = first_return();
    for (std::size_t i = first_; i < ops_.size() && ops_[i].invoked < bound; ++i) {
      if (done_[i] || writes(ops_[i]) || (ops_[i].kind == Kind::read ? ops_[i].value != value : ops_[i].expected == value)) continue;
      take(i);
      taken.push_back(i);
    }
    if (taken.empty()) return;
    const std::size_t before = taken.size();
    if (first_return() > bound) take_reads(value, taken);  // What returned first is out of the way.
    ENSURE(taken.size() >= before);
  }

  bool try_writes(std::uint64_t value) {
    const Tick bound = first_return();
    bool zeros_tried = false, other_tried = false;
    for (std::size_t i = first_; i < ops_.size() && ops_[i].invoked < bound; ++i) {
      const RegisterOp& op = ops_[i];
      if (done_[i] || !writes(op)) continue;
      if (op.kind == Kind::swap && op.expected != value) continue;
      // A unique value does not come back: nobody may be left who reads it.
      if (value != kZeros && readers_[value] > (op.kind == Kind::swap && certain(op) ? 1u : 0u)) continue;
      // What may or may not have been written, and nobody read: one is like the other, and of use to who wants zeros, or
      // anything else than what is there.
      if (!certain(op) && op.value == kZeros) {
        if (zeros_tried || value == kZeros || (readers_[kZeros] == 0 && leavers_[value] == 0)) continue;
        zeros_tried = true;
      } else if (!certain(op)) {
        if (leavers_[value] == 0 || (other_tried && op.kind == Kind::write)) continue;
        other_tried = other_tried || op.kind == Kind::write;
      }
      take(i);
      if (from(op.value)) return true;
      put_back(i);
      if (steps_ > kSearchStepsMax) return false;
    }
    return false;
  }

  void take(std::size_t i) {
    done_[i] = true;
    hash_ ^= sim::mix(i + 1);
    left_ -= certain(ops_[i]);
    if (reads(ops_[i]) && certain(ops_[i])) --readers_[value_read(ops_[i])];
    if (ops_[i].kind == Kind::differs) --leavers_[ops_[i].expected];
    furthest_ = std::max(furthest_, i);
    while (first_ < ops_.size() && done_[first_]) ++first_;
  }
  void put_back(std::size_t i) {
    done_[i] = false;
    hash_ ^= sim::mix(i + 1);
    left_ += certain(ops_[i]);
    if (reads(ops_[i]) && certain(ops_[i])) ++readers_[value_read(ops_[i])];
    if (ops_[i].kind == Kind::differs) ++leavers_[ops_[i].expected];
    first_ = std::min(first_, i);
  }
  // Nothing that was called after this can be next.
  Tick first_return() const {
    Tick bound = kNever;
    for (std::size_t i = first_; i < ops_.size() && ops_[i].invoked < bound; ++i)
      if (!done_[i]) bound = std::min(bound, ops_[i].responded);
    return bound;
  }
  std::uint64_t fingerprint(std::uint64_t value) const { return sim::mix(hash_ + sim::mix(value ^ 0x76616c7565ULL)); }

  std::vector<RegisterOp> ops_;
  std::vector<bool> done_;
  std::size_t first_ = 0;              // Everything before it is done.
  std::size_t left_ = 0;               // Certain operations that are not done.
  std::size_t furthest_ = 0;
  std::uint64_t hash_ = 0;             // Of the set of what is done.
  std::uint64_t steps_ = 0;
  std::unordered_map<std::uint64_t, std::size_t> readers_;  // Certain and not done, by the value they read.
  std::unordered_map<std::uint64_t, std::size_t> leavers_;  // Not done, by the value that they did not find.
  std::unordered_set<std::uint64_t> tried_;
};

}  // namespace

Judgement judge_by_search(std::span<const RegisterOp> ops) { return Search(ops).run(); }

Judgement judge_register(std::vector<RegisterOp> ops) {
  if (auto early = prepare(ops)) return *early;
  const bool unique = std::all_of(ops.begin(), ops.end(), [](const RegisterOp& op) {
    return op.kind == Kind::read || (op.kind == Kind::write && op.value != kZeros);
  });
  return unique ? judge_by_zones(ops) : judge_by_search(ops);
}

namespace {

bool has_bit(const BitsOp& read, std::uint64_t bit) { return bit / 64 < read.bits.size() && (read.bits[bit / 64] >> bit % 64 & 1) != 0; }

// The first bit of `a` that `b` lacks.
std::optional<std::uint64_t> missing_in(const BitsOp& a, const BitsOp& b) {
  for (std::size_t i = 0; i < a.bits.size(); ++i) {
    const std::uint64_t more = a.bits[i] & ~(i < b.bits.size() ? b.bits[i] : 0);
    if (more != 0) return i * 64 + static_cast<std::uint64_t>(std::countr_zero(more));
  }
  return std::nullopt;
}

}  // namespace

// What was read is a chain of sets, in the order of time; who was done is in it, who had not begun is not.
Judgement judge_bits(std::span<const BitsOp> ops) {
  std::vector<const BitsOp*> looks, sets;
  BitsOp known;
  for (const BitsOp& op : ops) {
    if (op.kind == BitsOp::Kind::read && op.responded != kNever) looks.push_back(&op);
    if (op.kind != BitsOp::Kind::set) continue;
    sets.push_back(&op);
    known.bits.resize(std::max<std::size_t>(known.bits.size(), op.bit / 64 + 1));
    known.bits[op.bit / 64] |= std::uint64_t{1} << op.bit % 64;
  }
  for (const BitsOp* look : looks) {
    if (const auto bit = missing_in(*look, known)) return violated(sim::format("operation {} read bit {}, which nobody set", look->source, *bit));
    Tick last_called = -1;  // Of those whose bit it has: who was done before that is there, too.
    for (const BitsOp* set : sets) {
      if (!has_bit(*look, set->bit)) continue;
      if (set->invoked > look->responded) return violated(sim::format("operation {} read what operation {} set later", look->source, set->source));
      last_called = std::max(last_called, set->invoked);
    }
    for (const BitsOp* set : sets)
      if (!has_bit(*look, set->bit) && set->responded < std::max(look->invoked, last_called))
        return violated(sim::format("operation {} lacks what operation {} had set", look->source, set->source));
  }
  const auto size = [](const BitsOp* op) {
    std::size_t n = 0;
    for (const std::uint64_t word : op->bits) n += static_cast<std::size_t>(std::popcount(word));
    return n;
  };
  std::stable_sort(looks.begin(), looks.end(), [&](const BitsOp* a, const BitsOp* b) { return size(a) < size(b); });
  Tick more_returned = kNever, same_returned = kNever;  // The first return among those that read more, and as much.
  for (std::size_t i = looks.size(); i-- > 0;) {
    if (i + 1 < looks.size() && missing_in(*looks[i], *looks[i + 1]))
      return violated(sim::format("operations {} and {} read sets of which none is in the other", looks[i]->source, looks[i + 1]->source));
    if (i + 1 < looks.size() && size(looks[i]) < size(looks[i + 1])) more_returned = std::min(more_returned, std::exchange(same_returned, kNever));
    same_returned = std::min(same_returned, looks[i]->responded);
    if (more_returned < looks[i]->invoked) return violated(sim::format("operation {} read less than was read before it", looks[i]->source));
  }
  return {};
}

}  // namespace holdfast::cluster
