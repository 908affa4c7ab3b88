#include <algorithm>
#include <charconv>
#include <optional>

#include "base/log.h"
#include "base/text.h"
#include "coord/node_record.h"

namespace holdfast::coord {
namespace {

constexpr std::string_view kFolder = "nodes";
constexpr int kTriesMax = 8;

std::optional<NodeId> node_of(std::string_view key) {
  key.remove_prefix(std::min(key.size(), kFolder.size() + 1));
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
  // One number, one spelling: no zeros in front.
  if (error != std::errc{} || end != key.data() + key.size() || number == 0 || key.front() == '0') return std::nullopt;
  return NodeId(number);
}

}  // namespace

std::string node_key(NodeId node) { return concat(kFolder, "/", node.value); }

Task<Result<void>> announce_node(Coordinator* coordinator, NodeRecord record) {
  const std::string key = node_key(record.node);
  const std::string wanted = encode_node_record(record);
  const auto checked = decode_node_record(record.node, wanted);
  if (!checked) co_return fail(Errc::invalid_argument, checked.error().message);
  if (record.node.value == 0) co_return fail(Errc::invalid_argument, "a node's number begins with 1");
  for (int tries = 0; tries < kTriesMax; ++tries) {
    auto entry = co_await coordinator->get(key);
    if (!entry) co_return fail(entry.error());
    if (entry->revision != 0 && entry->value == wanted) co_return Result<void>{};
    const auto before = decode_node_record(record.node, entry->value);
    // Perhaps another node's, and its name is not known here.
    if (entry->revision != 0 && !before && before.error().code == Errc::version_too_new)
      co_return fail(Errc::version_too_new, concat(key, ": ", before.error().message, ": upgrade this node, or remove the record if it is this node's own"));
    if (entry->revision != 0 && before && before->name != record.name)
      co_return fail(Errc::exists, concat("node ", record.node.value, " is \"", before->name, "\", and this node is \"", record.name,
                                          "\": give it another number, or remove the record ", key, " if that node is gone for good"));
    // Whatever came of it, the next look tells.
    (void)co_await coordinator->compare_and_swap(key, entry->revision, wanted);
  }
  co_return fail(Errc::timed_out, concat("the coordinator did not confirm the record of node ", record.node.value));
}

Task<Result<std::vector<NodeRecord>>> list_nodes(ClusterDirectory* directory) {
  auto entries = co_await directory->list(std::string(kFolder));
  if (!entries) co_return fail(entries.error());
  std::vector<NodeRecord> nodes;
  for (const DirectoryEntry& entry : *entries) {
    const auto node = node_of(entry.key);
    auto record = node ? decode_node_record(*node, entry.entry.value) : fail(Errc::corrupt, "no node's number");
    if (record) nodes.push_back(std::move(*record));
    else log_warning(concat("coordinator: ", entry.key, " is left out: ", record.error().text()));
  }
  std::sort(nodes.begin(), nodes.end(), [](const NodeRecord& a, const NodeRecord& b) { return a.node < b.node; });
  co_return nodes;
}

}  // namespace holdfast::coord
