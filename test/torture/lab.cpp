#include "test/torture/lab.h"

#include <algorithm>
#include <filesystem>

#include "test/sim/text.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"

namespace holdfast::torture {
namespace {

constexpr unsigned kHostMachine = 201;
// Of the nodes in turn, in parts of a million: two of them are 1 % apart, the most that a lease allows for.
constexpr std::int64_t kDrift[] = {5'000, -5'000, 0};

}  // namespace

Lab::Lab(Stage& stage, LabOptions options) : stage_(stage), options_(std::move(options)), host_machine_(hub_, kHostMachine) {
  if (options_.etcd_members > 0) etcd_ = std::make_unique<Etcd>(hub_, options_.etcd_members, stage_.folder() + "/etcd");
  for (unsigned number = 1; number <= options_.nodes; ++number) {
    NodeOptions node;
    node.number = number;
    node.folder = stage_.folder() + "/n" + std::to_string(number);
    node.cable = options_.cables;
    if (etcd_) node.etcd = etcd_->endpoints();
    node.more_store = options_.more_store;
    node.more_cluster = options_.more_cluster;
    node.more_iscsi = options_.more_iscsi;
    node.environment = options_.environment;
    node.faulty_disk = options_.faulty_disks;
    node.disk_bytes = options_.disk_bytes;
    if (options_.wrong_clocks) {
      clocks_.push_back(std::make_unique<WrongClock>(stage_.folder() + "/clock" + std::to_string(number), kDrift[(number - 1) % std::size(kDrift)]));
      node.environment.merge(clocks_.back()->environment());
    }
    nodes_.push_back(std::make_unique<Node>(hub_, std::move(node)));
  }
}

Lab::~Lab() {
  if (host_) host_->give_up();
  load_.reset();
  if (host_) write_file(stage_.folder() + "/host.story", host_->story());
}

// Once in the life of a cluster, on the operator's word.
void Lab::set_up_cluster() {
  // The node may not have reached the etcd yet.
  Node::Answer answer;
  const auto is_set_up = [&] { return (answer = node(1).request("POST", "/v1/cluster", "{}", milliseconds(10'000))).status / 100 == 2; };
  require(eventually(milliseconds(30'000), is_set_up, milliseconds(100)), "the cluster cannot be set up: " + answer.body);
  const auto all_known = [&] {
    for (const auto& each : nodes_) {
      const Node::Answer cluster = each->get("/v1/cluster");
      for (const auto& other : nodes_)
        if (cluster.body.find("\"" + other->name() + "\"") == cluster.body.npos) return false;
    }
    return true;
  };
  require(eventually(milliseconds(30'000), all_known, milliseconds(50)), "the nodes do not find each other; node 1's log:\n" + node(1).log());
}

void Lab::start(const std::string& size) {
  if (etcd_) etcd_->start();
  for (const auto& node : nodes_) node->spawn();
  for (const auto& node : nodes_) node->await_ready();
  if (etcd_) set_up_cluster();
  const std::string replicas = etcd_ ? ", \"replicas\": " + std::to_string(options_.nodes) : "";
  const std::string log = options_.log_size.empty() ? "" : ", \"log_size\": \"" + options_.log_size + "\"";
  node(1).must_post("/v1/volumes", std::string("{\"name\": \"") + kVolume + "\", \"size\": \"" + size + "\"" + replicas + log + "}");
  if (etcd_) await_all_in_sync();
}

Load& Lab::start_loaded(LoadOptions options) {
  start();
  // The other nodes' doors open a moment after the volume is there; a login that is refused costs three seconds.
  const auto all_up = [&] { return std::ranges::all_of(host().paths(), &PathStatus::up); };
  require(eventually(milliseconds(15'000), all_up, milliseconds(20)), "the host does not get all of its paths");
  Load& running = load(options);
  running.run_for(300);
  return running;
}

MultipathHost& Lab::host() {
  if (host_) return *host_;
  MultipathOptions options;
  options.target = std::string("iqn.2026-11.io.holdfast:") + kVolume;
  for (const auto& node : nodes_) options.addresses.push_back(node->address());
  options.port = kIscsiPort;
  options.where = &host_machine_.net();
  host_ = std::make_unique<MultipathHost>(std::move(options));
  return *host_;
}

Load& Lab::load(LoadOptions options) {
  if (load_) load_->stop();
  load_options_ = options;
  load_options_.seed = stage_.seed();
  load_ = std::make_unique<Load>(host(), ledger_, load_options_);
  return *load_;
}

void Lab::verify() {
  require(load_ != nullptr, "there was no load");
  load_->stop();
  const LoadCounters counters = load_->counters();
  require(counters.errors == 0, sim::format("{} commands failed, the first one: {}", counters.errors, counters.first_error));
  const BlockRange range{Lba(load_options_.first_block), BlockCount(load_options_.blocks)};
  ledger_.verify(host(), range);
  stage_.figure("acknowledged", static_cast<double>(ledger_.acknowledged()));
}

}  // namespace holdfast::torture
