#include "test/replicas/cluster.h"

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <thread>

namespace holdfast::replicas {
namespace {

namespace json = boost::json;

constexpr auto kLookAgain = std::chrono::milliseconds(20);
constexpr std::int64_t kAnswerPatienceMs = 30'000;

}  // namespace

Cluster::Cluster(ClusterOptions options) : options_(std::move(options)) {
  std::string coordinator = "directory = \"" + folder_.path() + "/coordinator\"\n";
  if (options_.keeps == Keeps::etcd) {
    etcd_ = std::make_unique<coord::test::EtcdCluster>(1);
    etcd_->start();
    coordinator = "[cluster.etcd]\nendpoints = [\"" + etcd_->urls().front() + "\"]\n";
  }
  const std::string secret = folder_.write("secret", "a secret of thirty-two bytes or a few more\n", 0600);
  for (int i = 1; i <= options_.nodes; ++i) {
    Node node;
    node.iscsi = coord::test::free_port();
    node.admin = coord::test::free_port();
    node.links = coord::test::free_port();
    const std::string number = std::to_string(i);
    const int published = options_.publish_first_admin && i > 1 ? nodes_.front().admin : node.admin;
    node.folder = folder_.path() + "/n" + number;
    std::filesystem::create_directory(node.folder);
    node.config = folder_.write("n" + number + ".toml", "[node]\nname = \"n" + number + "\"\nreactors = 1\nmemory = \"16MiB\"\ndata_dir = \"" + node.folder +
                                                            "/data\"\n[iscsi]\nlisten = [\"127.0.0.1:" + std::to_string(node.iscsi) +
                                                            "\"]\n[admin]\nlisten = \"127.0.0.1:" + std::to_string(node.admin) +
                                                            "\"\n[store]\nlog_size = \"4MiB\"\nmap_cache = \"1MiB\"\n[cluster]\nname = \"test\"\nnode = " + number +
                                                            "\nlisten = [\"127.0.0.1:" + std::to_string(node.links) + "\"]\nsecret_file = \"" + secret + "\"\n" +
                                                            "admin = \"127.0.0.1:" + std::to_string(published) + "\"\n" + options_.more_cluster + coordinator);
    nodes_.push_back(std::move(node));
  }
  for (int i = 1; i <= options_.nodes; ++i) start(i);
  if (etcd_) must(1, {"cluster", "init"});
  await("every node knows the others", [this] {
    for (int i = 1; i <= options_.nodes; ++i) {
      const Ended list = holdfast(i, {"--json", "node", "list"});
      if (list.code != 0 || json::parse(list.out).at("nodes").as_array().size() != nodes_.size()) return false;
    }
    return true;
  });
}

Cluster::~Cluster() {
  if (!testing::Test::HasFailure()) return;
  for (int i = 1; i <= options_.nodes; ++i) std::fprintf(stderr, "---- node %d\n%s", i, log(i).c_str());
}

void Cluster::start(int node) {
  Node& one = nodes_[static_cast<std::size_t>(node - 1)];
  one.program = std::make_unique<cli::Program>(one.folder, std::vector<std::string>{HOLDFASTD, "--config", one.config});
  const auto looks = [&] { return one.program->err().find(" ready: ") != std::string::npos || one.program->ended_within(0); };
  await("node " + std::to_string(node) + " is ready", looks);
  EXPECT_NE(one.program->err().find(" ready: "), std::string::npos) << one.program->err();
}

void Cluster::kill(int node) {
  program(node).signal(SIGKILL);
  program(node).wait();
}

Ended Cluster::stop(int node) {
  program(node).signal(SIGTERM);
  return program(node).wait();
}

std::string Cluster::log(int node) const {
  const Node& one = nodes_[static_cast<std::size_t>(node - 1)];
  return one.program ? one.program->err() : std::string();
}

Ended Cluster::holdfast(int node, std::vector<std::string> words) {
  const std::string place = folder_.path() + "/cli" + std::to_string(serial_++);
  std::filesystem::create_directory(place);
  words.insert(words.begin(), HOLDFAST);
  cli::ProgramOptions options;
  options.environment["HOLDFAST_SERVER"] = "http://127.0.0.1:" + std::to_string(nodes_[static_cast<std::size_t>(node - 1)].admin);
  const Ended ended = cli::Program(place, std::move(words), std::move(options)).wait(120'000);
  std::filesystem::remove_all(place);
  return ended;
}

void Cluster::must(int node, std::vector<std::string> words) {
  std::string line;
  for (const std::string& word : words) line += " " + word;
  const Ended ended = holdfast(node, std::move(words));
  EXPECT_EQ(ended.code, 0) << "holdfast" << line << ": " << ended.err;
}

Result<cli::Answer> Cluster::ask(int node, std::string method, const std::string& target, const std::string& body) {
  cli::ServerUrl url;
  url.port = static_cast<std::uint16_t>(nodes_[static_cast<std::size_t>(node - 1)].admin);
  return cli::Client(url, {}).send(std::move(method), target, body, kAnswerPatienceMs);
}

unsigned Cluster::http_status(int node, const std::string& target) {
  const auto answer = ask(node, "GET", target, {});
  return answer ? answer->status : 0;
}

unsigned Cluster::http_post(int node, const std::string& target, const std::string& body) {
  const auto answer = ask(node, "POST", target, body);
  return answer ? answer->status : 0;
}

std::string Cluster::http_body(int node, const std::string& target) {
  const auto answer = ask(node, "GET", target, {});
  return answer ? answer->body : std::string();
}

json::object Cluster::volume(int node, const std::string& name) {
  const Ended shown = holdfast(node, {"--json", "volume", "show", name});
  return shown.code == 0 ? json::parse(shown.out).as_object() : json::object();
}

int Cluster::primary(const std::string& name) {
  for (int i = 1; i <= options_.nodes; ++i) {
    const json::object shown = volume(i, name);
    const json::value* replication = shown.if_contains("replication");
    if (replication && replication->at("serving").as_bool()) return i;
  }
  return 0;
}

std::vector<int> Cluster::in_sync(const std::string& name) {
  std::vector<int> out;
  const int leader = primary(name);
  if (leader == 0) return out;
  const json::object shown = volume(leader, name);
  const json::value* replication = shown.if_contains("replication");
  if (!replication) return out;
  for (const json::value& member : replication->at("members").as_array())
    if (member.at("in_sync").as_bool()) out.push_back(static_cast<int>(member.at("node").to_number<int>()));
  return out;
}

bool Cluster::await(const std::string& what, const std::function<bool()>& is_so, int patience_ms) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  while (!is_so()) {
    if (std::chrono::steady_clock::now() >= until) {
      ADD_FAILURE() << "not within " << patience_ms << " ms: " << what;
      return false;
    }
    std::this_thread::sleep_for(kLookAgain);
  }
  return true;
}

int Cluster::await_primary(const std::string& name) {
  int node = 0;
  await("volume " + name + " is served", [&] { return (node = primary(name)) != 0; });
  return node;
}

bool Cluster::await_in_sync(const std::string& name, std::size_t copies) {
  return await(std::to_string(copies) + " copies of " + name + " are in sync", [&] { return in_sync(name).size() == copies; });
}

}  // namespace holdfast::replicas
