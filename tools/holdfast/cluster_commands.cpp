#include "tools/holdfast/cluster_commands.h"

#include <boost/json.hpp>

#include <ostream>

#include "admin/names.h"
#include "admin/size_text.h"
#include "tools/holdfast/documents.h"
#include "tools/holdfast/table.h"

namespace holdfast::cli {
namespace {

namespace json = boost::json;

constexpr std::int64_t kClusterTimeoutMs = 30'000;
constexpr std::int64_t kGlanceTimeoutMs = 2'000;

std::string addresses(const json::object& object, std::string_view key) {
  std::string out;
  for (const json::value& text : array_at(object, key))
    if (text.is_string()) out.append(out.empty() ? "" : ", ").append(std::string_view(text.get_string()));
  return out;
}

bool is_true(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_bool() && value->get_bool();
}

// Does it, and says so.
int done(Client& client, Output output, Question question, const std::string& what) {
  const Document document = ask(client, output, std::move(question));
  if (document.body && output.format == Format::table) output.out << what << "\n";
  return document.code;
}

std::string member_path(const MemberOptions& options) {
  return "/v1/volumes/" + options.volume + "/members/" + std::to_string(options.node);
}

// The same client, for another node of the cluster. `node` 0, or the one that is asked anyway: as it is.
struct Elsewhere {
  int code = kOk;
  std::optional<Client> client;
};
Elsewhere client_of(Client& client, Output output, std::uint64_t node) {
  Output quiet = output;
  quiet.format = Format::table;
  const Document cluster = ask(client, quiet, {"GET", "/v1/cluster", {}, kClusterTimeoutMs});
  if (!cluster.body) return {cluster.code, std::nullopt};
  if (node == 0 || number_at(*cluster.body, "node") == node) return {kOk, client};
  for (const json::value& each : array_at(*cluster.body, "nodes")) {
    if (!each.is_object() || number_at(each.get_object(), "node") != node) continue;
    const std::string admin = text_at(each.get_object(), "admin");
    auto url = parse_server_url(admin);
    if (admin.empty() || !url) break;
    return {kOk, client.at(std::move(*url))};
  }
  output.err << "holdfast: it is not known where node " << node << "'s admin port is: ask it with --server\n";
  return {kRefused, std::nullopt};
}

// What a node says, if it says anything; for looking around.
std::optional<json::object> glance(Client client, const std::string& target) {
  const auto answer = client.send("GET", target, {}, kGlanceTimeoutMs);
  if (!answer || answer->status != 200) return std::nullopt;
  json::error_code error;
  json::value body = json::parse(answer->body, error);
  if (error || !body.is_object()) return std::nullopt;
  return std::move(body.get_object());
}

// Of the node that serves the volume: the one that is asked, or else any.
Elsewhere leader_of(Client& client, Output output, const std::string& volume) {
  const std::string target = "/v1/volumes/" + volume;
  const auto serves = [&](const Client& one) {
    const auto shown = glance(one, target);
    return shown && is_true(object_at(*shown, "replication"), "serving");
  };
  Output quiet = output;
  quiet.format = Format::table;
  const Document shown = ask(client, quiet, {"GET", target, {}, kClusterTimeoutMs});
  if (!shown.body) return {shown.code, std::nullopt};
  if (is_true(object_at(*shown.body, "replication"), "serving")) return {kOk, client};
  const Document cluster = ask(client, quiet, {"GET", "/v1/cluster", {}, kClusterTimeoutMs});
  if (!cluster.body) return {cluster.code, std::nullopt};
  for (const json::value& each : array_at(*cluster.body, "nodes")) {
    const std::string admin = each.is_object() ? text_at(each.get_object(), "admin") : std::string();
    auto url = parse_server_url(admin);
    if (admin.empty() || !url) continue;
    Client there = client.at(std::move(*url));
    if (serves(there)) return {kOk, std::move(there)};
  }
  output.err << "holdfast: no node that answers serves volume " << volume << " just now: see holdfast status\n";
  return {kRefused, std::nullopt};
}

}  // namespace

int node_list(Client& client, Output output) {
  const Document cluster = ask(client, output, {"GET", "/v1/cluster", {}, kClusterTimeoutMs});
  if (!cluster.body || output.format == Format::json) return cluster.code;
  Table table({{"NODE", Align::right}, {"NAME", Align::left}, {"LINKS", Align::left}, {"PORTALS", Align::left}, {"ADMIN", Align::left}});
  for (const json::value& each : array_at(*cluster.body, "nodes")) {
    if (!each.is_object()) continue;
    const json::object& node = each.get_object();
    table.add({std::to_string(number_at(node, "node")) + (is_true(node, "self") ? " *" : ""), text_at(node, "name"), addresses(node, "links"), addresses(node, "portals"),
               text_at(node, "admin")});
  }
  output.out << "Cluster " << text_at(*cluster.body, "name") << (text_at(*cluster.body, "id").empty() ? "" : " (" + text_at(*cluster.body, "id") + ")") << "\n" << table.text();
  const std::string trouble = text_at(*cluster.body, "trouble");
  if (!trouble.empty()) output.out << "The coordinator is not read: " << trouble << "\n";
  return kOk;
}

int cluster_init(Client& client, Output output) {
  const Document made = ask(client, output, {"POST", "/v1/cluster", "{}", kClusterTimeoutMs});
  if (made.body && output.format == Format::table) output.out << "The cluster is set up: " << text_at(*made.body, "id") << "\n";
  return made.code;
}

int cluster_take_over(Client& client, Output output) {
  const Document made = ask(client, output, {"POST", "/v1/cluster/takeover", "{}", kClusterTimeoutMs});
  if (made.body && output.format == Format::table) output.out << "This etcd is the one of cluster " << text_at(*made.body, "id") << " from now on.\n";
  return made.code;
}

int member_add(Client& client, Output output, const MemberOptions& options) {
  return done(client, output, {"POST", "/v1/volumes/" + options.volume + "/members", json::serialize(json::object{{"node", options.node}}), kClusterTimeoutMs},
              "Node " + std::to_string(options.node) + " gets a copy of volume " + options.volume + "; holdfast status shows how far it is.");
}

int member_remove(Client& client, Output output, const MemberOptions& options) {
  return done(client, output, {"DELETE", member_path(options), {}, kClusterTimeoutMs}, "Node " + std::to_string(options.node) + " gives its copy of volume " + options.volume + " up.");
}

int member_replace(Client& client, Output output, const MemberOptions& options) {
  return done(client, output, {"PUT", member_path(options), json::serialize(json::object{{"replacement", options.replacement}}), kClusterTimeoutMs},
              "Node " + std::to_string(options.replacement) + " gets a copy of volume " + options.volume + ", and node " + std::to_string(options.node) + " gives its own up once that is in sync.");
}

int member_renew(Client& client, Output output, const MemberOptions& options) {
  return done(client, output, {"PUT", member_path(options), "{\"renew\": true}", kClusterTimeoutMs},
              "Node " + std::to_string(options.node) + " makes its copy of volume " + options.volume + " anew.");
}

int switch_over(Client& client, Output output, const SwitchOptions& options) {
  Elsewhere there = leader_of(client, output, options.volume);
  if (!there.client) return there.code;
  json::object body;
  if (options.candidate != 0) body["candidate"] = options.candidate;
  return done(*there.client, output, {"POST", "/v1/volumes/" + options.volume + "/switchover", json::serialize(body), kClusterTimeoutMs},
              "Volume " + options.volume + " is led by " + (options.candidate == 0 ? "another node" : "node " + std::to_string(options.candidate)) + ".");
}

int fail_over(Client& client, Output output, const SwitchOptions& options) {
  Elsewhere there = client_of(client, output, options.candidate);
  if (!there.client) return there.code;
  json::object body{{"accept_data_loss", options.accepts_data_loss}, {"others_fenced", options.others_are_fenced}};
  if (options.candidate != 0) body["candidate"] = options.candidate;
  return done(*there.client, output, {"POST", "/v1/volumes/" + options.volume + "/failover", json::serialize(body), kClusterTimeoutMs},
              "That copy of volume " + options.volume + " leads with what it has; the others are rebuilt from it when they return.");
}

int drain(Client& client, Output output, std::uint64_t node) {
  Elsewhere there = client_of(client, output, node);
  if (!there.client) return there.code;
  const Document drained = ask(*there.client, output, {"POST", "/v1/drain", "{}", kClusterTimeoutMs});
  if (!drained.body || output.format == Format::json) return drained.code;
  const std::string names = addresses(*drained.body, "handed_over");
  output.out << (names.empty() ? "It leads no volume." : "Handed over: " + names) << "\n";
  return kOk;
}

int volume_set(Client& client, Output output, const SetOptions& options) {
  json::object body;
  if (options.min_in_sync != 0) body["min_in_sync"] = options.min_in_sync;
  if (options.lease_ms != 0) body["lease_ms"] = options.lease_ms;
  return done(client, output, {"PATCH", "/v1/volumes/" + options.volume, json::serialize(body), kClusterTimeoutMs}, "Changed.");
}

}  // namespace holdfast::cli
