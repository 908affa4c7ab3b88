// Beside the register: lists, setting a cluster up, and letting another etcd take over.
#include <algorithm>

#include "base/text.h"
#include "coord/etcd_core.h"

namespace holdfast::coord {
namespace {

// A page of the largest values stays below what an answer may have.
constexpr std::uint64_t kPageEntries = 32;
constexpr std::size_t kPageBytesMax = 8 << 20;
static_assert(kPageEntries * kCoordinatorValueBytesMax / 3 * 4 < kPageBytesMax);

constexpr const char* kKvTxnPath = "/v3/kv/txn";

std::string hex_of(const Uuid& id) {
  std::string out;
  for (const std::uint8_t byte : id) out += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  return out;
}

}  // namespace

struct EtcdCore::Page {
  std::string folder;           // The keys' beginning, with the slash.
  std::string from;             // The first key of the next page; empty: there is none.
  std::uint64_t revision = 0;   // All pages are as of this one; zero: before the first page.
  std::vector<DirectoryEntry> entries;
};

Result<void> EtcdCore::judge_page(const std::string& where, std::string_view body, const ClusterGuard::Floor& floor, Page* page) {
  auto answer = decode_txn(where, body);
  if (!answer) return fail(answer.error());
  const auto wrong = [&] { return fail(Errc::protocol, concat("the etcd at ", where, " answers something else than what it was asked")); };
  if (answer->ranges.size() != 2 || answer->ranges[0].entries.size() > 1) return wrong();
  const RangeAnswer& markers = answer->ranges[0];
  if (!markers.entries.empty() && markers.entries.front().key != full("cluster")) return wrong();
  TRY(guard_.accept_marker(where, answer->header, markers.entries.empty() ? nullptr : &markers.entries.front()));
  TRY(guard_.accept_revision(where, answer->header, floor));
  const RangeAnswer& found = answer->ranges[1];
  if (found.entries.size() > kPageEntries || (found.more && found.entries.empty())) return wrong();
  for (const KeyValue& entry : found.entries)
    if (!entry.key.starts_with(page->folder) || entry.key < page->from) return wrong();
  guard_.note(answer->header, {}, 0);
  went_well();
  if (page->revision == 0) page->revision = answer->header.revision;
  for (const KeyValue& entry : found.entries)
    page->entries.push_back({entry.key.substr(options_.prefix.size() + 1), CoordinatorEntry{entry.modified, entry.value}});
  page->from.clear();
  if (found.more) page->from = found.entries.back().key + '\0';
  return {};
}

Task<Result<void>> EtcdCore::read_page(Page* page) {
  Operation marker, range;
  marker.key = full("cluster");
  range.key = page->from;
  range.end = end_of_prefix(page->folder);
  range.limit = kPageEntries;
  range.revision = page->revision;
  Txn txn;
  txn.success = {marker, range};
  const ClusterGuard::Floor floor = guard_.floor({});
  Question question{kKvTxnPath, encode_txn(txn), deadline(), {}, kPageBytesMax};
  question.judge = [&](const std::string& where, std::string_view body) { return judge_page(where, body, floor, page); };
  auto read = co_await channel_.read(&question);
  if (read) co_return read;
  report(read.error());
  // Etcd has dropped the state of the first page before the last one was read.
  if (read.error().code == Errc::out_of_range) co_return fail(Errc::io_error, concat("the list changed too fast: ", read.error().message));
  co_return read;
}

Task<Result<std::vector<DirectoryEntry>>> EtcdCore::list(std::string folder) {
  if (!coordinator_key_is_fine(folder)) co_return fail(Errc::invalid_argument, concat("folder \"", folder, "\": names of a-z, 0-9, - and . between slashes"));
  Page page;
  page.folder = page.from = full(folder) + "/";
  while (!page.from.empty()) {
    CO_TRY(co_await read_page(&page));
    if (page.entries.size() > kDirectoryEntriesMax)
      co_return fail(Errc::overloaded, concat(page.folder, " has more than ", kDirectoryEntriesMax, " keys"));
  }
  co_return std::move(page.entries);
}

// ---- The marker.

Task<Result<EtcdCore::MarkerSeen>> EtcdCore::read_marker() {
  Operation marker;
  marker.key = full("cluster");
  Txn txn;
  txn.success = {marker};
  MarkerSeen seen;
  Question question{kKvTxnPath, encode_txn(txn), deadline(), {}};
  question.judge = [&](const std::string& where, std::string_view body) -> Result<void> {
    auto answer = decode_txn(where, body);
    if (!answer) return fail(answer.error());
    if (answer->ranges.size() != 1 || answer->ranges[0].entries.size() > 1)
      return fail(Errc::protocol, concat("the etcd at ", where, " answers something else than what it was asked"));
    seen.header = answer->header;
    if (!answer->ranges[0].entries.empty()) seen.entry = answer->ranges[0].entries.front();
    return {};
  };
  auto read = co_await channel_.read(&question);
  if (!read) co_return fail(read.error());
  co_return seen;
}

// etcd_id: of the etcd that the change was made for. False: one of the comparisons failed. Errors: foreign: it was made elsewhere.
Task<Result<bool>> EtcdCore::change_marker(const Txn* txn, std::uint64_t etcd_id) {
  Question question{kKvTxnPath, encode_txn(*txn), deadline(), {}};
  auto written = co_await channel_.write(&question);
  if (!written.answered) co_return fail(written.error);
  auto answer = decode_txn(written.where, written.body);
  if (!answer) co_return fail(answer.error());
  if (answer->header.cluster_id != etcd_id)
    co_return fail(Errc::foreign, concat("the etcd at ", written.where, " is etcd cluster ", answer->header.cluster_id, ", and the one that was read just before is ",
                                         etcd_id, ": all endpoints must be members of one etcd; look at the key ", full("cluster"), " in both"));
  co_return answer->succeeded;
}

// What went wrong with a change may have happened all the same, unless this says what it was.
bool EtcdCore::is_settled(const Result<bool>& change) {
  return !change && (change.error().code == Errc::permission || change.error().code == Errc::foreign);
}

// After a change whose outcome is not known: is it there?
Task<Result<std::string>> EtcdCore::confirm_marker(const std::string* wanted, std::string id) {
  auto now = co_await read_marker();
  if (!now) co_return fail(now.error());
  if (now->entry && now->entry->value == *wanted) co_return id;
  co_return fail(Errc::timed_out, "etcd did not say whether it wrote the marker, and has not done so yet: try again");
}

Task<Result<std::string>> EtcdCore::set_up(Uuid uuid) {
  if (!guard_.id().empty())
    co_return fail(Errc::exists, concat("this node belongs to cluster ", guard_.id(), " already: an etcd without its data is brought back, never set up anew"));
  auto now = co_await read_marker();
  if (!now) co_return fail(now.error());
  if (now->entry) co_return fail(Errc::exists, concat("there is a key ", full("cluster"), " already: this etcd is set up"));
  const std::string id = hex_of(uuid);
  const std::string wanted = encode_marker({id, now->header.cluster_id});
  Comparison is_empty;  // Keys without their marker are what is left of a cluster.
  is_empty.target = Comparison::Target::version;
  is_empty.key = options_.prefix + "/";
  is_empty.end = end_of_prefix(is_empty.key);
  Operation put;
  put.kind = Operation::Kind::put;
  put.key = full("cluster");
  put.value = wanted;
  Txn txn;
  txn.comparisons = {is_empty};
  txn.success = {put};
  auto done = co_await change_marker(&txn, now->header.cluster_id);
  if (is_settled(done)) co_return fail(done.error());
  if (!done) {
    auto confirmed = co_await confirm_marker(&wanted, id);
    co_return confirmed;
  }
  if (!*done)
    co_return fail(Errc::exists, concat("there are keys below ", options_.prefix,
                                        "/ already, or somebody else has just set it up: see what they are, and choose another prefix"));
  co_return id;
}

Task<Result<std::string>> EtcdCore::take_over() {
  auto now = co_await read_marker();
  if (!now) co_return fail(now.error());
  if (!now->entry) co_return fail(Errc::not_found, concat("there is no key ", full("cluster"), ": this etcd has no cluster's data"));
  auto marker = decode_marker(now->entry->value);
  if (!marker) co_return fail(marker.error());
  if (!guard_.id().empty() && marker->id != guard_.id())
    co_return fail(Errc::foreign, concat("this etcd has the data of cluster ", marker->id, ", and this node belongs to cluster ", guard_.id()));
  if (marker->etcd_id == now->header.cluster_id) co_return marker->id;
  const std::string wanted = encode_marker({marker->id, now->header.cluster_id});
  Comparison is_unchanged;
  is_unchanged.target = Comparison::Target::value;
  is_unchanged.key = full("cluster");
  is_unchanged.value = now->entry->value;
  Operation put;
  put.kind = Operation::Kind::put;
  put.key = full("cluster");
  put.value = wanted;
  Txn txn;
  txn.comparisons = {is_unchanged};
  txn.success = {put};
  auto done = co_await change_marker(&txn, now->header.cluster_id);
  if (is_settled(done)) co_return fail(done.error());
  if (done && *done) co_return marker->id;
  auto confirmed = co_await confirm_marker(&wanted, marker->id);
  co_return confirmed;
}

}  // namespace holdfast::coord
