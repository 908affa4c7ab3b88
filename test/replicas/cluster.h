// Three real daemons on loopback, with an etcd or a directory as their coordinator, for one test.
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "test/cli/program.h"
#include "test/coord/etcd_process.h"
#include "tools/holdfast/client.h"

namespace holdfast::replicas {

using cli::Ended;

enum class Keeps : std::uint8_t { etcd, directory };

struct ClusterOptions {
  int nodes = 3;
  Keeps keeps = Keeps::etcd;
  std::string more_cluster;  // Further lines of [cluster].
  bool publish_first_admin = false;  // All nodes say that operators reach them where the first one is.
};

class Cluster {
 public:
  explicit Cluster(ClusterOptions options = {});
  ~Cluster();

  // From 1. A node that starts again has its ports again.
  void start(int node);
  void kill(int node);
  Ended stop(int node);
  cli::Program& program(int node) { return *nodes_[static_cast<std::size_t>(node - 1)].program; }
  bool is_up(int node) const { return nodes_[static_cast<std::size_t>(node - 1)].program != nullptr; }
  std::string portal(int node) const { return "127.0.0.1:" + std::to_string(nodes_[static_cast<std::size_t>(node - 1)].iscsi); }
  std::string folder(int node) const { return nodes_[static_cast<std::size_t>(node - 1)].folder; }
  std::string log(int node) const;
  // What the links prove themselves with: one file for all nodes.
  void write_secret(const std::string& lines) { folder_.write("secret", lines, 0600); }
  coord::test::EtcdCluster& etcd() { return *etcd_; }

  // holdfast with these words, asked of that node.
  Ended holdfast(int node, std::vector<std::string> words);
  // The same for a node that must do it.
  void must(int node, std::vector<std::string> words);
  // Of the admin port, asked directly; 0: no answer.
  unsigned http_status(int node, const std::string& target);
  unsigned http_post(int node, const std::string& target, const std::string& body);
  std::string http_body(int node, const std::string& target);
  boost::json::object volume(int node, const std::string& name);
  // The node that serves the volume; 0: none does.
  int primary(const std::string& name);
  // As the primary has it.
  std::vector<int> in_sync(const std::string& name);

  // Looks again and again until it is so; fails the test with `what` after a while.
  bool await(const std::string& what, const std::function<bool()>& is_so, int patience_ms = 30'000);
  int await_primary(const std::string& name);
  bool await_in_sync(const std::string& name, std::size_t copies);

 private:
  Result<cli::Answer> ask(int node, std::string method, const std::string& target, const std::string& body);
  struct Node {
    int iscsi = 0, admin = 0, links = 0;
    std::string config, folder;
    std::unique_ptr<cli::Program> program;
  };
  cli::TemporaryFolder folder_;
  ClusterOptions options_;
  std::unique_ptr<coord::test::EtcdCluster> etcd_;
  std::vector<Node> nodes_;
  int serial_ = 0;
};

}  // namespace holdfast::replicas
