#include "coord/cluster_guard.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace holdfast::coord {
namespace {

constexpr std::string_view kMarkerName = "holdfast-cluster ", kMarkerVersion = "1", kMarkerId = "id ", kMarkerEtcd = "etcd ";
constexpr std::string_view kPutBack =
    "; bring back the etcd that has this cluster's newest data: nothing is believed until then (operators' manual: etcd lost or restored)";

// "name value\n"
bool take_line(std::string_view& text, std::string_view name, std::string_view& value) {
  const std::size_t end = text.find('\n');
  if (!text.starts_with(name) || end == text.npos) return false;
  value = text.substr(name.size(), end - name.size());
  text.remove_prefix(end + 1);
  return true;
}

bool is_id(std::string_view text) {
  const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == 32 && std::all_of(text.begin(), text.end(), hex);
}

}  // namespace

std::string encode_marker(const ClusterMarker& marker) {
  return concat(kMarkerName, kMarkerVersion, "\n", kMarkerId, marker.id, "\n", kMarkerEtcd, marker.etcd_id, "\n");
}

Result<ClusterMarker> decode_marker(std::string_view text) {
  const auto wrong = [] { return fail(Errc::foreign, "it is no cluster marker of Holdfast's"); };
  std::string_view version, id, etcd;
  if (!take_line(text, kMarkerName, version)) return wrong();
  if (version != kMarkerVersion) return fail(Errc::version_too_new, concat("it has format version ", version.substr(0, 16), ", written by a newer Holdfast"));
  if (!take_line(text, kMarkerId, id) || !take_line(text, kMarkerEtcd, etcd) || !text.empty() || !is_id(id)) return wrong();
  ClusterMarker marker;
  marker.id = id;
  const auto [end, error] = std::from_chars(etcd.data(), etcd.data() + etcd.size(), marker.etcd_id);
  if (error != std::errc{} || end != etcd.data() + etcd.size() || marker.etcd_id == 0) return wrong();
  return marker;
}

ClusterGuard::Floor ClusterGuard::floor(const std::string& key) const {
  const auto found = keys_.find(key);
  return {revision_, found == keys_.end() ? 0 : found->second};
}

Result<void> ClusterGuard::accept_marker(const std::string& where, const EtcdHeader& header, const KeyValue* found) {
  if (!found && !id_.empty())
    return fail(Errc::foreign, concat("the etcd at ", where, " has lost the data of cluster ", id_, ": it has no key ", marker_key_, kPutBack));
  if (!found)
    return fail(Errc::foreign, concat("the etcd at ", where, " has no key ", marker_key_, ": either it was never set up for Holdfast, then set it up, once; "
                                      "or it has lost its data, then bring them back and never set it up anew"));
  auto marker = decode_marker(found->value);
  if (!marker) return fail(Errc::foreign, concat("the etcd at ", where, ", key ", marker_key_, ": ", marker.error().message));
  if (!id_.empty() && marker->id != id_)
    return fail(Errc::foreign, concat("the etcd at ", where, " has the data of cluster ", marker->id, ", and this node belongs to cluster ", id_,
                                      ": check the endpoints and the prefix", kPutBack));
  if (marker->etcd_id != header.cluster_id)
    return fail(Errc::foreign, concat("the etcd at ", where, " is a copy: its data are those of etcd cluster ", marker->etcd_id, ", and it is etcd cluster ",
                                      header.cluster_id, ". If the other one still runs, check the endpoints; if it is gone for good, let the copy take over "
                                      "(operators' manual: etcd lost or restored)"));
  id_ = marker->id;
  marker_ = found->value;
  return {};
}

Result<void> ClusterGuard::accept_revision(const std::string& where, const EtcdHeader& header, const Floor& floor) {
  if (header.revision >= floor.revision) return {};
  return fail(Errc::foreign, concat("the etcd at ", where, " went back in time: it is at revision ", header.revision, " and was at ", floor.revision,
                                    "; an older snapshot was restored, or its data directory was replaced", kPutBack));
}

Result<void> ClusterGuard::accept_key(const std::string& where, const std::string& key, std::uint64_t revision, const Floor& floor) {
  if (revision == 0 || revision >= floor.key_revision) return {};
  return fail(Errc::foreign, concat("the etcd at ", where, " went back in time: the key ", key, " is at revision ", revision, " and was at ",
                                    floor.key_revision, "; an older snapshot was restored", kPutBack));
}

void ClusterGuard::note(const EtcdHeader& header, const std::string& key, std::uint64_t revision) {
  revision_ = std::max(revision_, header.revision);
  if (revision == 0) return;
  const auto found = keys_.find(key);
  if (found != keys_.end()) found->second = std::max(found->second, revision);
  else if (keys_.size() < kKeysMax) keys_.emplace(key, revision);
}

}  // namespace holdfast::coord
