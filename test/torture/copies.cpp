// Lab: what nodes tell of their copies, and what an operator asks of them.
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/lab.h"

namespace holdfast::torture {
namespace {

namespace json = boost::json;

// A member that is missing reads as nothing.
std::uint64_t number_in(const json::object& from, std::string_view name) {
  const json::value* value = from.if_contains(name);
  if (!value || !value->is_number()) return 0;
  return value->to_number<std::uint64_t>();
}
bool flag_in(const json::object& from, std::string_view name) {
  const json::value* value = from.if_contains(name);
  return value && value->is_bool() && value->as_bool();
}
const json::object& object_in(const json::object& from, std::string_view name) {
  static const json::object none;
  const json::value* value = from.if_contains(name);
  return value && value->is_object() ? value->as_object() : none;
}

}  // namespace

CopyStatus Lab::copy(unsigned number) const {
  CopyStatus out;
  const Node& node = *nodes_.at(number - 1);
  if (!node.running()) return out;
  const auto volume = node.volume(kVolume);
  if (!volume) return out;
  out.answers = true;
  if (const json::value* role = volume->if_contains("role"); role && role->is_string()) out.role = role->as_string();
  out.epoch = number_in(*volume, "epoch");
  out.durable_lsn = number_in(object_in(*volume, "lsn"), "last");
  out.commit_lsn = number_in(object_in(*volume, "lsn"), "commit");
  out.checksum_errors = number_in(object_in(*volume, "store"), "checksum_errors");
  const json::object& replication = object_in(*volume, "replication");
  out.serving = flag_in(replication, "serving");
  out.shipped_bytes = number_in(replication, "shipped_bytes");
  out.fetched_bytes = number_in(object_in(replication, "rebuild"), "fetched_bytes");
  out.rebuilding = flag_in(object_in(replication, "rebuild"), "running");
  const json::value* members = replication.if_contains("members");
  if (!members || !members->is_array()) return out;
  for (const json::value& entry : members->as_array()) {
    if (!entry.is_object()) continue;
    const auto member = static_cast<unsigned>(number_in(entry.as_object(), "node"));
    if (flag_in(entry.as_object(), "in_sync")) out.in_sync.insert(member);
    if (flag_in(entry.as_object(), "connected")) out.connected.insert(member);
    out.lag_bytes_max = std::max(out.lag_bytes_max, number_in(entry.as_object(), "lag_bytes"));
  }
  return out;
}

std::optional<unsigned> Lab::serving() const {
  for (unsigned number = 1; number <= node_count(); ++number)
    if (copy(number).serving) return number;
  return std::nullopt;
}

unsigned Lab::await_serving(DurationNs patience) const {
  std::optional<unsigned> found;
  require(eventually(patience, [&] { return (found = serving()).has_value(); }), "no node serves the volume");
  return *found;
}

unsigned Lab::await_other_serving(unsigned other, DurationNs patience) const {
  unsigned found = 0;
  const auto look = [&] {
    for (unsigned number = 1; number <= node_count(); ++number)
      if (number != other && copy(number).serving) found = number;
    return found != 0;
  };
  require(eventually(patience, look), "nobody else than node " + std::to_string(other) + " serves the volume");
  return found;
}

unsigned Lab::another(unsigned number, unsigned nor) const {
  for (unsigned other = 1; other <= node_count(); ++other)
    if (other != number && other != nor) return other;
  throw Failure("there is no other node");
}

std::uint64_t Lab::epoch_of(unsigned number) const {
  CopyStatus status;
  require(eventually(milliseconds(10'000), [&] { return (status = copy(number)).answers; }), "node " + std::to_string(number) + " does not tell how it is");
  return status.epoch;
}

bool Lab::is_in_sync(unsigned number) const {
  const auto who = serving();
  return who && copy(*who).in_sync.contains(number);
}

void Lab::await_in_sync(unsigned number, DurationNs patience) const {
  require(eventually(patience, [&] { return is_in_sync(number); }), "node " + std::to_string(number) + " is not in sync in time");
}

void Lab::await_out_of_sync(unsigned number, DurationNs patience) const {
  const auto is_out = [&] {
    const auto who = serving();
    return who && *who != number && !copy(*who).in_sync.contains(number);
  };
  require(eventually(patience, is_out), "node " + std::to_string(number) + " stays in sync");
}

void Lab::await_all_in_sync(DurationNs patience) const {
  const auto all = [&] {
    const auto who = serving();
    return who && copy(*who).in_sync.size() == node_count();
  };
  require(eventually(patience, all), "not all copies are in sync in time");
}

Node::Answer Lab::try_switchover(unsigned candidate) const {
  const std::string path = std::string("/v1/volumes/") + kVolume + "/switchover";
  return nodes_.at(await_serving() - 1)->request("POST", path, "{\"candidate\": " + std::to_string(candidate) + "}", milliseconds(30'000));
}

void Lab::switchover(unsigned candidate) const {
  const Node::Answer answer = try_switchover(candidate);
  require(answer.status / 100 == 2, "the switchover to node " + std::to_string(candidate) + " was answered with " + std::to_string(answer.status) + ": " + answer.body);
  require(eventually(milliseconds(10'000), [&] { return copy(candidate).serving; }, milliseconds(10)), "the candidate does not serve");
}

void Lab::verify_everywhere() {
  verify();
  for (unsigned number = 1; number <= node_count(); ++number) {
    await_all_in_sync();
    if (serving() != number) switchover(number);
    verify();
  }
}

}  // namespace holdfast::torture
