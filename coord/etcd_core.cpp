#include "coord/etcd_core.h"

#include <algorithm>

#include "base/log.h"
#include "base/text.h"

namespace holdfast::coord {
namespace {

constexpr const char* kTxnPath = "/v3/kv/txn";
constexpr std::string_view kMarkerKey = "cluster";
constexpr std::int64_t kReportAgainMs = 60'000;

Operation range_of_key(std::string key) {
  Operation operation;
  operation.key = std::move(key);
  return operation;
}

std::unexpected<Error> not_what_was_asked(const std::string& where) {
  return fail(Errc::protocol, concat("the etcd at ", where, " answers something else than what it was asked"));
}

const KeyValue* first_of(const RangeAnswer& range) { return range.entries.empty() ? nullptr : &range.entries.front(); }

// At most the one key that was asked for.
bool is_of(const RangeAnswer& range, const std::string& key) {
  return range.entries.empty() || (range.entries.size() == 1 && range.entries.front().key == key);
}

HttpOptions http_options(const EtcdOptions& options) {
  HttpOptions http;
  http.tls_ca_file = options.tls_ca_file;
  http.tls_certificate_file = options.tls_certificate_file;
  http.tls_key_file = options.tls_key_file;
  return http;
}

}  // namespace

EtcdCore::EtcdCore(Loop& loop, EtcdOptions options, std::vector<HttpEndpoint> endpoints, EtcdStats& stats)
    : options_(std::move(options)), stats_(&stats), http_(loop, endpoints, http_options(options_)), channel_(loop, http_, options_, endpoints, stats),
      guard_(full(std::string(kMarkerKey)), options_.cluster_id), hub_(loop, http_, channel_, options_, stats), told_id_(options_.cluster_id),
      scope_(loop) {}

std::string EtcdCore::cluster_id() const {
  const std::lock_guard lock(told_mutex_);
  return told_id_;
}

std::string EtcdCore::trouble() const {
  const std::lock_guard lock(told_mutex_);
  return trouble_;
}

void EtcdCore::went_well() {
  const std::lock_guard lock(told_mutex_);
  if (told_id_.empty()) told_id_ = guard_.id();
  trouble_.clear();
}

// The log hears of it once, and again as long as it goes on; sooner when it is something else, and needs an operator.
void EtcdCore::report(const Error& error) {
  if (error.code == Errc::foreign) stats_->refused_as_foreign.add();
  {
    const std::lock_guard lock(told_mutex_);
    trouble_ = error.text();
  }
  const bool grave = error.code == Errc::foreign || error.code == Errc::permission || error.code == Errc::protocol;
  const BootNs now = channel_.now();
  const bool said_lately = reported_ != Errc{} && now - reported_at_ < milliseconds(kReportAgainMs);
  if (said_lately && (!grave || error.code == reported_)) return;
  reported_ = error.code;
  reported_at_ = now;
  const std::string line = concat("coordinator: ", error.text());
  if (grave) log_error(line);
  else log_warning(line);
}

// ---- Reading.

Result<CoordinatorEntry> EtcdCore::judge_entry(const std::string& where, std::string_view body, const std::string& key, const ClusterGuard::Floor& floor) {
  auto answer = decode_txn(where, body);
  if (!answer) return fail(answer.error());
  if (answer->ranges.size() != 2 || !is_of(answer->ranges[0], full(std::string(kMarkerKey))) || !is_of(answer->ranges[1], full(key)))
    return not_what_was_asked(where);
  TRY(guard_.accept_marker(where, answer->header, first_of(answer->ranges[0])));
  TRY(guard_.accept_revision(where, answer->header, floor));
  CoordinatorEntry entry;
  if (const KeyValue* found = first_of(answer->ranges[1])) {
    if (found->modified > answer->header.revision) return not_what_was_asked(where);
    entry = {found->modified, found->value};
  }
  TRY(guard_.accept_key(where, key, entry.revision, floor));
  guard_.note(answer->header, key, entry.revision);
  hub_.seen(answer->header.revision, entry.revision);
  went_well();
  return entry;
}

Task<Result<CoordinatorEntry>> EtcdCore::look(const std::string* key, BootNs until) {
  Txn txn;
  txn.success = {range_of_key(full(std::string(kMarkerKey))), range_of_key(full(*key))};
  CoordinatorEntry entry;
  const ClusterGuard::Floor floor = guard_.floor(*key);
  Question question{kTxnPath, encode_txn(txn), until, {}};
  question.judge = [&](const std::string& where, std::string_view body) -> Result<void> {
    auto judged = judge_entry(where, body, *key, floor);
    if (!judged) return fail(judged.error());
    entry = std::move(*judged);
    return {};
  };
  auto read = co_await channel_.read(&question);
  if (!read) {
    report(read.error());
    co_return fail(read.error());
  }
  co_return entry;
}

Task<Result<CoordinatorEntry>> EtcdCore::get(std::string key) {
  const BootNs begun = channel_.now();
  if (!coordinator_key_is_fine(key)) co_return fail(Errc::invalid_argument, concat("key \"", key, "\": names of a-z, 0-9, - and . between slashes"));
  auto entry = co_await look(&key, deadline());
  if (entry) stats_->gets.add(channel_.now() - begun);
  else stats_->gets_failed.add();
  co_return entry;
}

// ---- Changing.

Task<CasOutcome> EtcdCore::swap(std::string key, std::uint64_t base_revision, std::optional<std::string> value) {
  const BootNs begun = channel_.now();
  CasOutcome outcome;
  if (coordinator_key_is_fine(key) && (!value || value->size() <= kCoordinatorValueBytesMax)) {
    Swap swap;
    swap.key = std::move(key);
    swap.base_revision = base_revision;
    swap.value = std::move(value);
    auto done = co_await carry_out(&swap);
    outcome = std::move(done);
  }
  count_swap(outcome.status, begun);
  co_return outcome;
}

void EtcdCore::count_swap(CasStatus status, BootNs begun) {
  if (status == CasStatus::unknown) return stats_->swaps_unknown.add();
  (status == CasStatus::applied ? stats_->swaps_applied : stats_->swaps_in_conflict).add();
  stats_->swaps.add(channel_.now() - begun);
}

Txn EtcdCore::txn_of(const Swap& swap) const {
  Comparison is_ours, is_unchanged;
  is_ours.target = Comparison::Target::value;
  is_ours.key = swap.marker.key;
  is_ours.value = swap.marker.value;
  is_unchanged.target = Comparison::Target::modified;
  is_unchanged.key = full(swap.key);
  is_unchanged.number = swap.base_revision;
  Operation change;
  change.kind = swap.value ? Operation::Kind::put : Operation::Kind::erase;
  change.key = full(swap.key);
  if (swap.value) change.value = *swap.value;
  return Txn{{is_ours, is_unchanged}, {change}, {range_of_key(swap.marker.key), range_of_key(full(swap.key))}};
}

Task<CasOutcome> EtcdCore::carry_out(Swap* swap) {
  const BootNs until = deadline();
  if (!guard_.knows_marker()) {
    auto first = co_await look(&swap->key, until);
    if (!first) co_return CasOutcome{};
  }
  swap->marker.key = full(std::string(kMarkerKey));
  swap->marker.value = guard_.marker();
  swap->floor = guard_.floor(swap->key);
  Question question{kTxnPath, encode_txn(txn_of(*swap)), until, {}};
  auto written = co_await channel_.write(&question);
  if (!written.answered) {
    report(written.error);
    co_return CasOutcome{};
  }
  auto outcome = judge_swap(written, *swap);
  if (!outcome) {
    channel_.failed(written.endpoint);
    report(outcome.error());
    co_return CasOutcome{};
  }
  co_return *outcome;
}

Result<CasOutcome> EtcdCore::judge_swap(const Written& written, const Swap& swap) {
  if (auto answer = decode_txn(written.where, written.body); answer && answer->succeeded) {
    // It has our marker, or it would not have done it; but so has a copy of our etcd. And a change is newer than whatever was
    // seen before it was asked for (to erase what is not there changes nothing).
    const bool changes = swap.value || swap.base_revision != 0;
    const ClusterGuard::Floor newer{swap.floor.revision + (changes ? 1 : 0), 0};
    TRY(guard_.accept_marker(written.where, answer->header, &swap.marker));
    TRY(guard_.accept_revision(written.where, answer->header, newer));
    // Nor does a key go back to a revision after which another one was seen.
    TRY(guard_.accept_key(written.where, swap.key, swap.base_revision, swap.floor));
    CoordinatorEntry entry;
    if (swap.value) entry = {answer->header.revision, *swap.value};
    guard_.note(answer->header, swap.key, entry.revision);
    hub_.seen(answer->header.revision, entry.revision);
    went_well();
    return CasOutcome{CasStatus::applied, std::move(entry)};
  }
  auto entry = judge_entry(written.where, written.body, swap.key, swap.floor);
  if (!entry) return fail(entry.error());
  // A comparison failed: if the key is as we said, the marker was written anew meanwhile.
  if (entry->revision == swap.base_revision)
    return fail(Errc::protocol, concat("the etcd at ", written.where, " refused a change of ", swap.key, " and does not say why"));
  return CasOutcome{CasStatus::conflict, std::move(*entry)};
}

Task<void> EtcdCore::until_changed(std::string key, std::uint64_t revision) {
  co_await hub_.wait(full(key), revision);
}

}  // namespace holdfast::coord
