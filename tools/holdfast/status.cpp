// `holdfast status`: the node that is asked, and of a cluster also what all of its nodes say of their copies. Who serves a volume knows
// how the others stand; how far a rebuild is knows the copy that is rebuilt.
#include <boost/json.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <ostream>
#include <thread>

#include "admin/names.h"
#include "admin/size_text.h"
#include "tools/holdfast/commands.h"
#include "tools/holdfast/documents.h"
#include "tools/holdfast/table.h"
#include "tools/holdfast/volume_texts.h"

namespace holdfast::cli {
namespace {

namespace json = boost::json;

constexpr std::int64_t kStatusTimeoutMs = 30'000;
constexpr std::int64_t kOtherNodeTimeoutMs = 2'000;

bool holds(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_bool() && value->get_bool();
}

std::string joined(const json::array& texts) {
  std::string out;
  for (const json::value& text : texts) {
    if (text.is_string()) out.append(out.empty() ? "" : ", ").append(std::string_view(text.get_string()));
  }
  return out;
}

// What the nodes say of one volume, by node.
using Views = std::map<std::uint64_t, json::object>;

struct ClusterView {
  std::map<std::string, Views> volumes;  // With copies on several nodes.
  std::vector<std::string> silent;       // Why a node's view is missing, and what to do.
};

void add_node(ClusterView& view, std::uint64_t node, const json::object& status) {
  for (const json::value& each : array_at(status, "volumes"))
    if (each.is_object() && each.get_object().contains("replication")) view.volumes[text_at(each.get_object(), "name")][node] = each.get_object();
}

// An address like 127.0.0.1:9440 leads whoever follows it to himself, and his own word would count as another node's.
std::string wrong_node(std::uint64_t node, const json::object& entry, const json::object& status) {
  const json::object cluster = object_at(status, "cluster");
  const std::uint64_t answering = number_at(cluster, "node");
  return "Node " + std::to_string(node) + " (" + text_at(entry, "name") + ") is not asked: the admin address that it publishes, " + text_at(entry, "admin") +
         ", leads from here to " + (cluster.empty() ? "a node outside of any cluster" : "node " + std::to_string(answering) + " of cluster " + text_at(cluster, "name")) +
         "; give it one that leads to it from everywhere ([cluster] admin in its configuration)";
}

bool is_node(const json::object& status, const json::object& own_cluster, std::uint64_t node) {
  const json::object cluster = object_at(status, "cluster");
  return number_at(cluster, "node") == node && text_at(cluster, "name") == text_at(own_cluster, "name");
}

ClusterView look_around(Client& client, const json::object& own) {
  ClusterView view;
  const std::uint64_t self = number_at(object_at(own, "cluster"), "node");
  add_node(view, self, own);
  const auto answer = client.send("GET", "/v1/cluster", {}, kOtherNodeTimeoutMs);
  json::error_code error;
  const json::value cluster = answer && answer->status == 200 ? json::parse(answer->body, error) : json::value();
  if (error || !cluster.is_object()) return view;
  for (const json::value& each : array_at(cluster.get_object(), "nodes")) {
    if (!each.is_object()) continue;
    const std::uint64_t node = number_at(each.get_object(), "node");
    const std::string admin = text_at(each.get_object(), "admin");
    auto url = parse_server_url(admin);
    if (node == self || admin.empty() || !url) continue;
    const auto said = client.at(std::move(*url)).send("GET", "/v1/status", {}, kOtherNodeTimeoutMs);
    const json::value status = said && said->status == 200 ? json::parse(said->body, error) : json::value();
    if (!error && status.is_object()) {
      if (is_node(status.get_object(), object_at(own, "cluster"), node)) add_node(view, node, status.get_object());
      else view.silent.push_back(wrong_node(node, each.get_object(), status.get_object()));
      continue;
    }
    view.silent.push_back("Node " + std::to_string(node) + " (" + text_at(each.get_object(), "name") + ") does not answer at http://" + admin + ": " +
                          (said ? "HTTP status " + std::to_string(said->status) : said.error().text()));
  }
  return view;
}

const json::object* server_of(const Views& views) {
  const auto found = std::ranges::find_if(views, [](const auto& each) { return holds(object_at(each.second, "replication"), "serving"); });
  return found == views.end() ? nullptr : &found->second;
}

// Of a copy that is not in sync: what its own node says.
std::string catching_up(const Views& views, std::uint64_t node) {
  const auto own = views.find(node);
  const json::object rebuild = own == views.end() ? json::object() : object_at(object_at(own->second, "replication"), "rebuild");
  if (!holds(rebuild, "running")) return "catching up";
  const std::uint64_t total = number_at(rebuild, "bytes_total"), done = number_at(rebuild, "bytes_done");
  std::string out = "rebuilding";
  if (total > 0) out += ", " + std::to_string(done * 100 / total) + " % of " + admin::size_text(total);
  if (const std::uint64_t eta = number_at(rebuild, "eta_ms"); eta > 0) out += ", " + admin::duration_text(eta) + " to go";
  return out;
}

void add_copies(Table& table, const std::string& name, const Views& views) {
  const json::object* server = server_of(views);
  const json::object replication = object_at(server ? *server : views.begin()->second, "replication");
  for (const json::value& each : array_at(replication, "members")) {
    if (!each.is_object()) continue;
    const json::object& member = each.get_object();
    const std::uint64_t node = number_at(member, "node");
    const bool leads = server && holds(member, "self");
    const json::value* lag = member.if_contains("lag_bytes");
    const bool known = server && !leads && lag && !lag->is_null();
    const bool in_sync = holds(member, "in_sync"), connected = !server || holds(member, "connected");
    std::string copy = in_sync ? "in sync" : connected ? catching_up(views, node) : "not in sync";
    if (!connected) copy += ", not connected";
    table.add({name, std::to_string(node), leads ? "primary" : "secondary", copy, known ? admin::size_text(number_at(member, "lag_bytes")) : "-",
               known ? std::to_string(number_at(member, "lag_ms")) : "-"});
  }
}

std::string copies_text(const ClusterView& view) {
  if (view.volumes.empty()) return {};
  Table table({{"VOLUME", Align::left}, {"NODE", Align::right}, {"ROLE", Align::left}, {"COPY", Align::left}, {"LAG", Align::right}, {"LAG MS", Align::right}});
  for (const auto& [name, views] : view.volumes) add_copies(table, name, views);
  return "\n" + table.text();
}

// What an operator must do something about: of a volume that is served the word of who serves it, and what others say of their own copies.
std::string reasons_text(const json::array& own, const ClusterView& view) {
  std::string out;
  const auto add = [&out](const std::string& name, const std::string& where, const json::object& volume) {
    const std::string reason = text_at(volume, "reason");
    if (!reason.empty()) out.append(name).append(where).append(": ").append(reason).append("\n");
  };
  for (const json::value& each : own)
    if (each.is_object() && !each.get_object().contains("replication")) add(text_at(each.get_object(), "name"), "", each.get_object());
  for (const auto& [name, views] : view.volumes)
    for (const auto& [node, volume] : views) add(name, " on node " + std::to_string(node), volume);
  return out;
}

bool is_served(const std::string& health) { return health != "failed" && health != "waiting"; }

bool all_are_served(const json::array& own, const ClusterView& view) {
  for (const json::value& each : own)
    if (each.is_object() && !each.get_object().contains("replication") && !is_served(text_at(each.get_object(), "health"))) return false;
  return std::ranges::all_of(view.volumes, [](const auto& each) {
    const json::object* server = server_of(each.second);
    return server && is_served(text_at(*server, "health"));
  });
}

void print_node(Output output, const json::object& status) {
  const json::object cluster = object_at(status, "cluster");
  std::vector<std::pair<std::string, std::string>> fields{{"Node", text_at(status, "name")},
                                                          {"Version", text_at(status, "version")},
                                                          {"Up", admin::duration_text(number_at(status, "uptime_ms"))},
                                                          {"Data", text_at(status, "data_dir")},
                                                          {"Portals", joined(array_at(status, "portals"))},
                                                          {"Reactors", std::to_string(number_at(status, "reactors"))}};
  if (!cluster.empty()) fields.insert(fields.begin() + 1, {"Cluster", text_at(cluster, "name") + ", as node " + std::to_string(number_at(cluster, "node"))});
  output.out << fields_text(fields) << "\n";
}

}  // namespace

int node_status(Client& client, Output output) {
  const Document status = ask(client, output, {"GET", "/v1/status", {}, kStatusTimeoutMs});
  if (!status.body) return status.code;
  const json::array volumes = array_at(*status.body, "volumes");
  const json::object cluster = object_at(*status.body, "cluster");
  const ClusterView view = cluster.empty() ? ClusterView() : look_around(client, *status.body);
  if (output.format == Format::table) {
    print_node(output, *status.body);
    output.out << (volumes.empty() ? std::string("No volumes.\n") : volume_table(volumes)) << copies_text(view) << reasons_text(volumes, view);
    for (const std::string& silent : view.silent) output.out << silent << "\n";
    if (const std::string trouble = text_at(cluster, "trouble"); !trouble.empty()) output.out << "The coordinator is not read: " << trouble << "\n";
  }
  return all_are_served(volumes, view) ? kOk : kNotServing;
}

int watch_status(Client& client, Output output) {
  constexpr auto kEvery = std::chrono::seconds(1);
  for (;;) {
    if (output.format == Format::table) output.out << "\033[H\033[2J";
    const int code = node_status(client, output);
    output.out << std::flush;
    if (!output.out) return code;
    std::this_thread::sleep_for(kEvery);
  }
}

}  // namespace holdfast::cli
