// A storage node: a machine, its supervisor's part (the listening socket that outlives the daemon, as systemd's socket units keep
// it), and holdfastd, to be killed, frozen and started at will.
#pragma once

#include <boost/json.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "test/torture/machine.h"
#include "test/torture/process.h"

namespace holdfast::torture {

// Ports are the same on all nodes: each has a network of its own.
inline constexpr std::uint16_t kIscsiPort = 3260, kLinkPort = 9441, kAdminPort = 9440, kEtcdPort = 2379;

struct NodeOptions {
  unsigned number = 1;                             // Of the node in its cluster, and of its machine.
  std::string folder;                              // For its configuration, data and log; made by the node.
  CableKind cable = CableKind::short_one;
  std::vector<std::string> etcd;                   // Endpoints; empty: a node by itself.
  std::string more_store;                          // Further lines of [store].
  std::string more_iscsi;                          // Further lines of [iscsi].
  std::string more_cluster;                        // Further lines of [cluster].
  std::map<std::string, std::string> environment;  // Of the daemon.
  bool faulty_disk = false;                        // It fails by rules: fail_disk().
  std::uint64_t disk_bytes = 0;                    // Its data lie on a file system of their own of that size. 0: on the folder's.
};

class Node {
 public:
  Node(const Switch& hub, NodeOptions options);
  ~Node();
  Node(const Node&) = delete;

  unsigned number() const { return options_.number; }
  Machine& machine() { return machine_; }
  const std::string& address() const { return machine_.address(); }
  std::string name() const { return "n" + std::to_string(options_.number); }
  NodeOptions& options() { return options_; }     // For the next start.
  std::string config_file() const { return options_.folder + "/holdfast.toml"; }
  std::string data_dir() const { return options_.folder + "/data"; }
  std::string store_of(const std::string& volume) const { return data_dir() + "/volumes/" + volume + ".hf"; }
  std::string log() const;                         // Of all its lives.
  // Lines of the log that contain the text.
  std::uint64_t log_lines(const std::string& text) const;
  // From a moment after this on its disk fails by these rules (io/fault_disk.h), and by no others.
  void fail_disk(const std::string& rules);
  // Requests that failed so; of each set of rules no more than the first 20 are counted.
  std::uint64_t disk_faults(const std::string& op) const { return log_lines("disk fault: " + op); }
  // Takes all the space that its file system has, and gives it back. Returns the bytes taken.
  std::uint64_t fill_disk();
  void empty_disk();

  void spawn();
  // Until it tells its supervisor that it is ready. Throws, with the end of its log, when it ends before or takes too long.
  void await_ready(DurationNs patience = milliseconds(60'000));
  void start() {
    spawn();
    await_ready();
  }
  bool running() const { return process_ && process_->running(); }
  Process& process();
  void kill() { process().kill(); }
  // SIGTERM and its orderly end, which must be one.
  void stop(DurationNs patience = milliseconds(70'000));
  // The machine dies: nobody hears of it. boot() is the machine's way back; the daemon is to be started after it.
  void die_silently();
  void boot();

  // The command line against this node, on its own machine.
  Ran holdfast(std::vector<std::string> words, DurationNs patience = milliseconds(60'000)) const;
  // What the node's HTTP API answers; the status is -1 without an answer.
  struct Answer {
    int status = -1;
    std::string body;
  };
  Answer request(const std::string& method, const std::string& path, const std::string& body, DurationNs patience) const;
  // The same with a request of the caller's own making, head and all.
  Answer request_as_it_is(const std::string& text, DurationNs patience) const;
  Answer get(const std::string& path) const { return request("GET", path, {}, milliseconds(1'000)); }
  // A change that an operator asks for. Throws unless it succeeds.
  std::string must_post(const std::string& path, const std::string& body) const;
  // GET /v1/volumes/NAME: nothing without an answer.
  std::optional<boost::json::object> volume(const std::string& name) const;

 private:
  void write_config() const;
  void listen();
  NodeOptions options_;
  Machine machine_;
  io::UniqueFd listener_, notify_;
  std::unique_ptr<Process> process_;
};

}  // namespace holdfast::torture
