// O7: bad input to real nodes under load. It is refused with an error that names what is wrong, and nothing has changed.
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "test/sim/text.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/lab.h"
#include "test/torture/raw_connection.h"
#include "test/torture/scenario_groups.h"

namespace holdfast::torture {
namespace {

constexpr DurationNs kPatience = milliseconds(10'000);

// What a request for change could have changed, of all nodes, as text.
std::string what_is_there(Lab& lab) {
  std::string out;
  for (unsigned number = 1; number <= lab.node_count(); ++number) {
    const Node::Answer all = lab.node(number).request("GET", "/v1/volumes", {}, kPatience);
    const boost::json::value list = boost::json::parse(all.body);
    for (const boost::json::value& each : list.at("volumes").as_array()) {
      const boost::json::object& volume = each.as_object();
      const boost::json::object& replication = volume.at("replication").as_object();
      out += sim::format("node {}: {} {} {} epoch {}", number, boost::json::serialize(volume.at("name")), boost::json::serialize(volume.at("uuid")),
                         boost::json::serialize(volume.at("size_bytes")), boost::json::serialize(volume.at("epoch")));
      for (const char* key : {"state", "min_in_sync", "lease_ms", "primary"}) out += sim::format(", {} {}", key, boost::json::serialize(replication.at(key)));
      for (const boost::json::value& member : replication.at("members").as_array()) out += sim::format(", {}", boost::json::serialize(member.at("node")));
      out += "\n";
    }
  }
  return out;
}

// Three nodes under load, to which `mistreat` does what it likes. Returns when all is as it was.
void unchanged(Stage& stage, void (*mistreat)(Stage&, Lab&)) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const std::string before = what_is_there(lab);
  mistreat(stage, lab);
  load.run_for(200);
  lab.await_all_in_sync();
  const std::string after = what_is_there(lab);
  require(before == after, "something has changed. Before:\n" + before + "after:\n" + after);
  lab.verify();
}

struct BadRequest {
  const char* method;
  const char* path;
  const char* body;
  int status;
  const char* field;  // "" where none is at fault.
};

constexpr BadRequest kBadRequests[] = {
    {"POST", "/v1/volumes", R"({"name": "Bad_Name", "size": "1GiB"})", 400, "name"},
    {"POST", "/v1/volumes", R"({"name": "", "size": "1GiB"})", 400, "name"},
    {"POST", "/v1/volumes", R"({"name": 5, "size": "1GiB"})", 400, "name"},
    {"POST", "/v1/volumes", R"({"size": "1GiB"})", 400, "name"},
    {"POST", "/v1/volumes", R"({"name": "new"})", 400, "size"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": "12 parsecs"})", 400, "size"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": -1})", 400, "size"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": 1048577})", 400, "size"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": "99999999999999999999GiB"})", 400, "size"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": "1GiB", "log_size": "1KiB"})", 400, "log_size"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": "1GiB", "replicas": 9})", 400, "replicas"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": "1GiB", "members": [1, 77]})", 400, "members"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": "1GiB", "members": [1, 1]})", 400, "members"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": "1GiB", "min_in_sync": 4})", 400, "min_in_sync"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": "1GiB", "colour": "red"})", 400, "body"},
    {"POST", "/v1/volumes", R"({"name": "new", "size": )", 400, "body"},
    {"POST", "/v1/volumes", R"(["new"])", 400, "body"},
    {"POST", "/v1/volumes", R"({"name": "pg", "size": "1GiB"})", 409, ""},
    {"PATCH", "/v1/volumes/pg", R"({"min_in_sync": 9})", 400, "min_in_sync"},
    {"PATCH", "/v1/volumes/pg", R"({"lease_ms": 1})", 400, "lease_ms"},
    {"PATCH", "/v1/volumes/pg", R"({"size": "1TiB"})", 400, "body"},
    {"POST", "/v1/volumes/pg/members", R"({"node": 0})", 400, "node"},
    {"POST", "/v1/volumes/pg/members", R"({"node": "two"})", 400, "node"},
    {"POST", "/v1/volumes/pg/switchover", R"({"candidate": 99999999})", 400, "candidate"},
    {"POST", "/v1/volumes/pg/switchover", R"({"candidate": 1.5})", 400, "candidate"},
    {"POST", "/v1/volumes/pg/failover", R"({"accept_data_loss": "perhaps"})", 400, "accept_data_loss"},
    {"POST", "/v1/volumes/pg/failover", R"({"accept_data_loss": false, "others_fenced": true})", 400, "accept_data_loss"},
    {"POST", "/v1/volumes/pg/consumers", R"({"name": "backup", "from": "tomorrow"})", 400, "from"},
    {"DELETE", "/v1/volumes/pg?force=perhaps", "", 400, "force"},
    {"DELETE", "/v1/volumes/nobody", "", 404, ""},
    {"DELETE", "/v1/volumes", "", 405, ""},
    {"GET", "/v1/volumes?colour=red", "", 400, ""},
    {"GET", "/v1/nowhere", "", 404, ""},
    {"GET", "/v1/volumes/%00%ff", "", 404, ""},
};

void bad_requests(Stage& stage, Lab& lab) {
  const Node& node = lab.node(lab.await_serving());
  std::uint64_t refused = 0;
  const auto expect = [&](const std::string& what, const Node::Answer& answer, int status, const std::string& field) {
    const std::string told = sim::format("{} was answered with {}: {}", what, answer.status, answer.body);
    require(answer.status == status, told);
    boost::system::error_code wrong;
    const boost::json::value problem = boost::json::parse(answer.body, wrong);
    require(!wrong && problem.is_object(), told);
    const boost::json::object& said = problem.as_object();
    require(said.contains("detail") && !said.at("detail").as_string().empty(), "no detail: " + told);
    if (!field.empty()) require(said.contains("field") && said.at("field").as_string() == field, "not named: " + field + ": " + told);
    ++refused;
  };
  for (const BadRequest& bad : kBadRequests)
    expect(sim::format("{} {} {}", bad.method, bad.path, bad.body), node.request(bad.method, bad.path, bad.body, kPatience), bad.status, bad.field);
  const auto raw = [&](const std::string& text, int status) { expect(text.substr(0, 100), node.request_as_it_is(text, kPatience), status, ""); };
  const std::string head = "POST /v1/volumes HTTP/1.1\r\nHost: node\r\nConnection: close\r\n";
  raw(head + "Content-Type: application/json\r\nContent-Length: 2000000\r\n\r\n", 413);
  raw(head + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415);
  raw(head + "X-Long: " + std::string(20'000, 'x') + "\r\n\r\n", 431);
  stage.prove("bad requests refused", refused);
}

struct BadConfig {
  const char* text;
  const char* key;  // That the complaint names.
};

constexpr BadConfig kBadConfigs[] = {
    {"[node]\ndata_dir = \"relative\"\n", "node.data_dir"},
    {"[node]\n", "node.data_dir"},
    {"[node]\ndata_dir = \"/d\"\nmemory = \"1MiB\"\n", "node.memory"},
    {"[node]\ndata_dir = \"/d\"\nmemory = \"64 parsecs\"\n", "node.memory"},
    {"[node]\ndata_dir = \"/d\"\nreactors = -1\n", "node.reactors"},
    {"[node]\ndata_dir = \"/d\"\ncolour = \"red\"\n", "node.colour"},
    {"[iscsi]\nlisten = [\"nowhere\"]\n", "iscsi.listen"},
    {"[iscsi]\nnop_interval = \"5 apples\"\n", "iscsi.nop_interval"},
    {"[iscsi.auth]\nuser = \"pg\"\nsecret = \"short\"\n", "iscsi.auth.secret"},
    {"[iscsi.auth]\nuser = \"pg\"\nsecret_file = \"gone\"\n", "iscsi.auth.secret_file"},
    {"[iscsi.auth]\nuser = \"pg\"\nsecret_file = \"for-all-to-see\"\n", "iscsi.auth.secret_file"},
    {"[iscsi.auth]\nuser = \"pg\"\n", "iscsi.auth.user"},
    {"[iscsi.auth]\nuser = \"pg\"\nsecret = \"long enough for it\"\nmutual_user = \"s\"\nmutual_secret = \"long enough for it\"\n", "iscsi.auth.mutual_secret"},
    {"[iscsi.auth]\ninitiators = [\"Nobody\"]\n", "iscsi.auth.initiators"},
    {"[iscsi.volume.Bad_Name]\nuser = \"pg\"\nsecret = \"long enough for it\"\n", "iscsi.volume.Bad_Name"},
    {"[admin]\nlisten = \"0.0.0.0:9440\"\n", "admin.listen"},
    {"[admin]\ntoken_file = \"short\"\n", "admin.token_file"},
    {"[store]\nlog_size = \"1KiB\"\n", "store.log_size"},
    {"[store]\ncheckpoint_log_percent = 100\n", "store.checkpoint_log_percent"},
    {"[cluster]\nname = \"torture\"\nnode = 0\nlisten = [\"127.0.0.1:9441\"]\n", "cluster.node"},
    {"[cluster]\nname = \"torture\"\nnode = 1\nlisten = [\"127.0.0.1:9441\"]\n", "cluster.etcd"},
    {"[cluster]\nname = \"torture\"\nnode = 1\nlisten = [\"127.0.0.1:9441\"]\nlease = \"1s\"\nheartbeat = \"1s\"\n", "cluster.heartbeat"},
    {"[cluster]\nname = \"torture\"\nnode = 1\nlisten = [\"192.0.2.1:9441\"]\n", "cluster.listen"},
    {"[log]\nlevel = \"loud\"\n", "log.level"},
    {"[node\n", "not valid TOML"},
};

void bad_configs(Stage& stage, Lab& lab) {
  const std::string folder = stage.folder() + "/bad";
  std::filesystem::create_directories(folder);
  write_file(folder + "/for-all-to-see", "long enough for it\n");
  ::chmod((folder + "/for-all-to-see").c_str(), 0644);
  write_file(folder + "/short", "short\n");
  ::chmod((folder + "/short").c_str(), 0600);
  constexpr int kConfigIsWrong = 78;
  std::uint64_t refused = 0;
  for (const BadConfig& bad : kBadConfigs) {
    const std::string file = folder + "/holdfast.toml";
    write_file(file, bad.text);
    const Ran ran = run({HOLDFASTD, "--config", file}, &lab.node(1).machine().net());
    require(ran.status == kConfigIsWrong && ran.output.find(bad.key) != std::string::npos,
            sim::format("with the configuration\n{}it ended with {}, and says: {}", bad.text, ran.status, ran.output));
    ++refused;
  }
  // A node that runs is told to read its configuration again.
  Node& node = lab.node(1);
  const std::string good = read_file(node.config_file());
  for (const BadConfig& bad : {BadConfig{"[node]\ndata_dir = \"relative\"\n", "node.data_dir"}, BadConfig{"[iscsi.auth]\nuser = \"pg\"\nsecret = \"short\"\n", "iscsi.auth.secret"}}) {
    const std::uint64_t told = node.log_lines(bad.key), kept = node.log_lines("everything stays as it was");
    write_file(node.config_file(), bad.text);
    node.process().signal(SIGHUP);
    const auto complains = [&] { return node.log_lines(bad.key) > told && node.log_lines("everything stays as it was") > kept; };
    require(eventually(kPatience, complains), std::string("a running node does not tell that ") + bad.key + " is wrong; its log:\n" + node.log());
    ++refused;
  }
  write_file(node.config_file(), good);
  stage.prove("bad configurations refused", refused);
}

// The first step of a login, with these texts.
std::string login(const std::vector<std::string>& pairs, std::uint32_t told_bytes = 0) {
  std::string text;
  for (const std::string& pair : pairs) text.append(pair).append(1, '\0');
  scsi::Header h;
  h.set8(0, 0x43).set8(1, 0x87).set8(8, 0x80).set8(11, 77).set8(13, 77).set32(24, 1);
  h.set_data_bytes(told_bytes > 0 ? told_bytes : static_cast<std::uint32_t>(text.size()));
  text.resize(scsi::padded(text.size()));
  return std::string(reinterpret_cast<const char*>(h.raw.data()), h.raw.size()) + text;
}

void bad_pdus(Stage& stage, Lab& lab) {
  constexpr std::uint16_t kNotFound = 0x0203, kMissingParameter = 0x0207;
  const std::string target = "TargetName=iqn.2026-11.io.holdfast:pg", initiator = "InitiatorName=iqn.2026-11.io.holdfast.torture:bad", kind = "SessionType=Normal";
  std::uint64_t refused = 0;
  const auto status_of = [](const Heard& heard) {
    if (heard.bytes.size() < scsi::kHeaderBytes || (heard.bytes[0] & 0x3f) != 0x23) return -1;
    return static_cast<int>(static_cast<unsigned char>(heard.bytes[36])) << 8 | static_cast<unsigned char>(heard.bytes[37]);
  };
  std::string noise(4'096, '\0');
  sim::SimRandom random(stage.seed());
  for (char& c : noise) c = static_cast<char>(random.below(256));
  for (unsigned number = 1; number <= lab.node_count(); ++number) {
    const Node& node = lab.node(number);
    const auto tell = [&](const std::string& what, const std::string& bytes) {
      const Heard heard = say(lab.host_machine().net(), node.address(), kIscsiPort, bytes, milliseconds(20'000));
      require(heard.connected && heard.closed, sim::format("{} to node {}: the connection stays open", what, number));
      ++refused;
      return heard;
    };
    const auto login_fails = [&](const std::string& what, const std::string& bytes, std::uint16_t why) {
      const int status = status_of(tell(what, bytes));
      require(status == why, sim::format("{} to node {} is answered with the status {}, not {}", what, number, status, why));
    };
    tell("noise", noise);
    tell("a request of another protocol", "GET / HTTP/1.1\r\nHost: a-node-that-speaks-another-protocol\r\n\r\n");
    login_fails("the name of no target", login({initiator, kind, target + "x"}), kNotFound);
    login_fails("no initiator's name", login({kind, target}), kMissingParameter);
    tell("a login of 16 MiB", login({initiator, kind, target}, 0xffffff));
    std::string command(scsi::kHeaderBytes, '\0');
    command[0] = 0x01;
    tell("a command before the login", command);
    // Nobody proves itself like this; the log says who, in a line a second at most.
    const auto is_told = [&] {
      const Heard heard = say(lab.host_machine().net(), node.address(), kLinkPort, noise, milliseconds(20'000));
      require(heard.connected && heard.closed, sim::format("noise to the link of node {}: the connection stays open", number));
      ++refused;
      return node.log_lines("links: " + lab.host_machine().address()) > 0;
    };
    require(eventually(kPatience, is_told, milliseconds(300)), sim::format("node {} does not tell of a stranger on its link", number));
  }
  // What a host that is logged in asks for.
  MultipathHost& host = lab.host();
  constexpr std::uint8_t kIllegalRequest = 5;
  const auto sense = [&](const std::string& what, const ScsiRequest& request, std::uint16_t asc) {
    const ScsiAnswer answer = host.execute(request);
    require(answer.key == kIllegalRequest && answer.asc == asc, what + " is answered with " + answer.text());
    ++refused;
  };
  const std::uint64_t blocks = (1ULL << 30) / kBlockBytes;
  const std::vector<std::byte> block(kBlockBytes);
  sense("a read beyond the end", read_blocks({Lba(blocks), BlockCount(1)}), 0x2100);
  sense("a write beyond the end", write_blocks({Lba(blocks), BlockCount(1)}, block), 0x2100);
  sense("a write at the end of all numbers", write_blocks({Lba(~std::uint64_t{0}), BlockCount(1)}, block), 0x2100);
  ScsiRequest unknown;
  unknown.cdb[0] = std::byte{0xff};
  sense("an unknown command", unknown, 0x2000);
  ScsiRequest too_long = read_blocks({Lba(0), BlockCount(1)});
  store_be<std::uint32_t>(&too_long.cdb[10], 0xffffffff);
  sense("a read of 16 TiB", too_long, 0x2100);
  sense("a read of more than a transfer may have", read_blocks({Lba(0), BlockCount(2'049)}), 0x2400);
  stage.prove("bad PDUs refused", refused);
}

void o7_requests(Stage& stage) { unchanged(stage, bad_requests); }
void o7_configs(Stage& stage) { unchanged(stage, bad_configs); }
void o7_pdus(Stage& stage) { unchanged(stage, bad_pdus); }

}  // namespace

std::vector<Scenario> input_scenarios() {
  return {
      {"O7a", "bad requests over HTTP: refused, the field is named, nothing changed", o7_requests},
      {"O7b", "bad configurations and secrets: refused, the key is named, nothing changed", o7_configs},
      {"O7c", "bad PDUs, commands and links: refused, nothing changed", o7_pdus},
  };
}

}  // namespace holdfast::torture
