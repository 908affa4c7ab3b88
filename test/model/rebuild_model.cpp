#include "test/model/rebuild_model.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <string>
#include <unordered_set>

namespace holdfast::model {
namespace {

constexpr int kRecordsMax = 6, kChunks = 2;
constexpr std::uint8_t kGarbage = 255, kUnknown = 99;

// What a chunk holds is the LSN of the record that wrote it; zero: zeros.
struct Content {
  std::uint8_t value[kChunks];
  std::uint8_t modified[kChunks];
};

enum class Phase : std::uint8_t { away, copying, following };

struct State {
  // The source: its whole history, all of it committed and applied.
  std::uint8_t records = 0;
  std::uint8_t kind[kRecordsMax]{};   // chunk + 2 when it is emptied.
  std::uint8_t first_kept = 1;        // Oldest record in its log.
  // The copy, durable.
  Content map{}, kept{};              // As it is, and as the last checkpoint has it.
  std::uint8_t applied = 0, end = 0;  // Its log holds what is between them.
  std::uint8_t garbage = 0;           // Records of its log that came superseded, a bit each.
  std::uint8_t tail = 0;              // A record behind `end` that the source never had.
  std::uint8_t unfit = 0;
  // The copy, lost by a crash.
  Phase phase = Phase::away;
  std::uint8_t next_chunk = 0, base = 0, image = 0, reach = kUnknown;
};
static_assert(std::has_unique_object_representations_v<State>);

class Search {
 public:
  Search(int records, BrokenRebuild broken) : records_(records), broken_(broken) {}

  RebuildFound run() {
    visit(State{});
    while (!queue_.empty() && found_.violation.empty()) {
      const State state = queue_.front();
      queue_.pop_front();
      expand(state);
    }
    return found_;
  }

 private:
  bool is(BrokenRebuild what) const { return broken_ == what; }

  void visit(const State& state) {
    ++found_.moves;
    std::string key(reinterpret_cast<const char*>(&state), sizeof state);
    if (!seen_.insert(std::move(key)).second) return;
    ++found_.states;
    check(state);
    queue_.push_back(state);
  }

  static int chunk_of(std::uint8_t kind) { return kind % kChunks; }
  static void apply(Content& content, std::uint8_t kind, std::uint8_t lsn, bool garbage) {
    const int c = chunk_of(kind);
    if (content.modified[c] >= lsn) return;  // The chunk has it.
    content.value[c] = kind >= kChunks ? 0 : garbage ? kGarbage : lsn;
    content.modified[c] = lsn;
  }
  static Content source_at(const State& s, int lsn) {
    Content content{};
    for (int i = 0; i < lsn; ++i) apply(content, s.kind[i], static_cast<std::uint8_t>(i + 1), false);
    return content;
  }

  void check(const State& s) {
    if (s.unfit) return;
    Content content = s.map;
    for (std::uint8_t lsn = static_cast<std::uint8_t>(s.applied + 1); lsn <= s.end; ++lsn)
      apply(content, s.kind[lsn - 1], lsn, (s.garbage >> lsn & 1) != 0);
    const Content right = source_at(s, s.end);
    for (int c = 0; c < kChunks; ++c)
      if (content.value[c] != right.value[c])
        found_.violation = "a fit copy at LSN " + std::to_string(s.end) + " has " + std::to_string(content.value[c]) + " in chunk " +
                           std::to_string(c) + ", not " + std::to_string(right.value[c]);
  }

  void expand(const State& s) {
    expand_source(s);
    expand_copy(s);
    if (s.phase == Phase::copying) copy_step(s);
    if (s.phase == Phase::following) follow_step(s);
  }

  void expand_source(const State& s) {
    for (std::uint8_t kind = 0; kind < 2 * kChunks && s.records < records_; ++kind) {
      State next = s;
      next.kind[next.records++] = kind;
      visit(next);
    }
    if (s.first_kept <= s.records) {
      State next = s;
      ++next.first_kept;
      visit(next);
    }
  }

  void expand_copy(const State& s) {
    if (s.phase == Phase::away) come_back(s);
    if (s.phase == Phase::away && s.tail == 0 && s.end == s.records && s.records < records_) {
      State next = s;  // It had a primary that is gone, with a record that nobody else has.
      next.tail = 1;
      visit(next);
    }
    if (s.applied < s.end && s.phase != Phase::copying) {
      State next = s;
      ++next.applied;
      apply(next.map, next.kind[next.applied - 1], next.applied, (next.garbage >> next.applied & 1) != 0);
      visit(next);
    }
    if (s.unfit && s.reach != kUnknown && s.end >= s.reach && s.phase != Phase::copying) {
      State next = s;
      next.unfit = 0;
      next.reach = kUnknown;
      visit(next);
    }
    for (const bool kept : {false, true}) {  // What was not checkpointed may be lost.
      State next = s;
      next.phase = Phase::away;
      next.next_chunk = next.base = next.image = 0;
      next.reach = kUnknown;
      if (s.phase == Phase::copying && !kept) next.map = s.kept;
      if (is(BrokenRebuild::unfit_not_durable)) next.unfit = 0;
      visit(next);
    }
  }

  void come_back(const State& s) {
    State next = s;
    const std::uint8_t log_end = static_cast<std::uint8_t>(s.end + s.tail);
    next.tail = 0;  // Cut: nobody was promised it.
    if (s.end + 1 >= s.first_kept) {
      next.phase = Phase::following;
      if (next.unfit && next.reach == kUnknown) next.reach = next.records;
      return visit(next);
    }
    for (; next.applied < next.end; ++next.applied)
      apply(next.map, next.kind[next.applied], static_cast<std::uint8_t>(next.applied + 1), (next.garbage >> (next.applied + 1) & 1) != 0);
    next.garbage = 0;
    next.kept = next.map;
    next.unfit = 1;
    next.phase = Phase::copying;
    next.base = is(BrokenRebuild::base_is_log_end) ? log_end : next.end;
    next.image = next.reach = next.records;
    visit(next);
  }

  void copy_step(const State& s) {
    State next = s;
    if (s.next_chunk == kChunks) {
      next.phase = Phase::away;
      next.applied = next.end = is(BrokenRebuild::image_without_log) ? s.records : s.image;
      if (is(BrokenRebuild::fit_at_once)) next.unfit = 0;
      next.kept = Content{};
      next.next_chunk = next.base = next.image = 0;
      return visit(next);
    }
    const Content theirs = source_at(s, s.records);
    const int c = next.next_chunk++;
    const bool mentioned = theirs.modified[c] > s.base && !(is(BrokenRebuild::holes_not_mentioned) && theirs.value[c] == 0);
    if (mentioned) {
      next.map.value[c] = theirs.value[c];
      next.map.modified[c] = s.records;
      next.reach = std::max(next.reach, s.records);
      if (next.map.value[c] == s.map.value[c]) next.map.modified[c] = theirs.modified[c];
    }
    visit(next);
  }

  void follow_step(const State& s) {
    if (s.end >= s.records) return;
    if (s.end + 1 < s.first_kept) {
      State next = s;
      next.phase = Phase::away;
      return visit(next);
    }
    const std::uint8_t kind = s.kind[s.end];
    bool superseded = false;
    for (int later = s.end + 1; later < s.records; ++later) superseded = superseded || chunk_of(s.kind[later]) == chunk_of(kind);
    for (const bool garbage : {false, true}) {
      if (garbage && (!superseded || kind >= kChunks)) continue;
      State next = s;
      ++next.end;
      if (garbage) next.garbage = static_cast<std::uint8_t>(next.garbage | 1u << next.end);
      if (garbage && !is(BrokenRebuild::superseded_and_fit)) {
        next.unfit = 1;
        next.reach = next.reach == kUnknown ? next.records : std::max(next.reach, next.records);
      }
      visit(next);
    }
  }

  int records_;
  BrokenRebuild broken_;
  std::deque<State> queue_;
  std::unordered_set<std::string> seen_;
  RebuildFound found_;
};

}  // namespace

RebuildFound search_rebuild(int records, BrokenRebuild broken) { return Search(std::clamp(records, 1, kRecordsMax), broken).run(); }

}  // namespace holdfast::model
