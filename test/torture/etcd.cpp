#include "test/torture/etcd.h"

#include <filesystem>

#include "test/torture/clock.h"
#include "test/torture/failure.h"

namespace holdfast::torture {

void EtcdMachine::spawn(const std::string& initial_cluster) {
  std::filesystem::create_directories(folder_);
  const std::string client = endpoint(), peers = "http://" + machine_.address() + ":2380";
  ProcessOptions options;
  options.words = {"etcd", "--name", name_, "--data-dir", folder_ + "/" + name_ + ".data", "--listen-client-urls", client, "--advertise-client-urls", client,
                   "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", initial_cluster, "--initial-cluster-token", "torture",
                   "--heartbeat-interval", "100", "--election-timeout", "1000"};
  options.where = &machine_.net();
  options.log = folder_ + "/" + name_ + ".log";
  process_ = std::make_unique<Process>(options);
}

bool EtcdMachine::serves() const {
  return run({"etcdctl", "--endpoints", endpoint(), "--command-timeout", "2s", "get", "any"}, &machine_.net(), milliseconds(10'000), {{"ETCDCTL_API", "3"}}).status == 0;
}

void EtcdMachine::await_serving(DurationNs patience) {
  require(eventually(patience, [&] { return !running() || serves(); }, milliseconds(50)) && running(),
          "etcd does not start; its log:\n" + read_file(folder_ + "/" + name_ + ".log"));
}

void EtcdMachine::wipe() {
  require(!running(), "an etcd that runs is not wiped");
  std::filesystem::remove_all(folder_ + "/" + name_ + ".data");
}

Etcd::Etcd(const Switch& hub, unsigned members, const std::string& folder) {
  for (unsigned i = 0; i < members; ++i) members_.push_back(std::make_unique<EtcdMachine>(hub, kFirstMachine + i, folder));
}

std::string Etcd::initial_cluster() const {
  std::string all;
  for (const auto& member : members_) all += (all.empty() ? "" : ",") + member->peer();
  return all;
}

void Etcd::start() {
  for (const auto& member : members_)
    if (!member->running()) member->spawn(initial_cluster());
  for (const auto& member : members_) member->await_serving();
}

void Etcd::stop() {
  for (const auto& member : members_)
    if (member->running()) member->kill();
}

std::vector<std::string> Etcd::endpoints() const {
  std::vector<std::string> out;
  for (const auto& member : members_) out.push_back(member->endpoint());
  return out;
}

// "endpoint, id, version, size, is leader, …" by the simple output of 3.4.
std::size_t Etcd::leader() {
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (!members_[i]->running()) continue;
    const Ran ran = run({"etcdctl", "--endpoints", members_[i]->endpoint(), "endpoint", "status"}, &members_[i]->machine().net(), milliseconds(10'000), {{"ETCDCTL_API", "3"}});
    std::size_t at = 0;
    for (int commas = 0; commas < 4 && at != ran.output.npos; ++commas) at = ran.output.find(',', at + 1);
    if (ran.status == 0 && at != ran.output.npos && ran.output.compare(at + 2, 4, "true") == 0) return i;
  }
  throw Failure("the etcd has no leader");
}

}  // namespace holdfast::torture
