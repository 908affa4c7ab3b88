// Real etcd processes on loopback, with their data in a temporary directory. They end with the test, also when it dies.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace holdfast::coord::test {

class TempDirectory {
 public:
  TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  ~TempDirectory();
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Below the range that the kernel takes for connections, so that a member that was killed gets its own again.
int free_port();

// Runs a program to its end. Returns its exit status and what it said.
struct Ran {
  int status = -1;
  std::string output;
};
Ran run_program(const std::vector<std::string>& arguments);

struct EtcdMemberOptions {
  std::string name = "m0";
  std::string data_dir;
  int client_port = 0, peer_port = 0;
  std::string initial_cluster, token = "holdfast-test";
  std::string tls_certificate, tls_key, tls_client_ca;  // Paths; empty: no TLS, or no client certificates wanted.
  std::vector<std::string> more;
};

class EtcdMember {
 public:
  explicit EtcdMember(EtcdMemberOptions options) : options_(std::move(options)) {}
  EtcdMember(const EtcdMember&) = delete;
  ~EtcdMember() { kill(); }

  void spawn();
  // Until it serves. False: it ended, or takes longer than 30 s; log() tells why.
  bool await_serving() { return await_log("ready to serve client requests"); }
  bool await_log(const std::string& text);  // Of this life.
  bool start() {
    spawn();
    return await_serving();
  }
  void kill();           // kill -9, and gone when it returns.
  void signal(int number);
  void freeze();         // SIGSTOP, and frozen when it returns.
  void thaw();
  void wipe();           // Its data directory; while it is not running.

  std::string url() const { return (options_.tls_certificate.empty() ? "http://127.0.0.1:" : "https://127.0.0.1:") + std::to_string(options_.client_port); }
  int port() const { return options_.client_port; }
  EtcdMemberOptions& options() { return options_; }
  std::string log();

 private:
  void drain(int fd);
  EtcdMemberOptions options_;
  int pid_ = 0;
  std::thread drainer_;
  std::mutex mutex_;
  std::condition_variable said_;
  std::string log_;
  bool ended_ = false;
};

// One or three members of one etcd.
class EtcdCluster {
 public:
  explicit EtcdCluster(std::size_t members = 1);
  // All of them, until they serve.
  void start();
  std::vector<std::string> urls() const;
  EtcdMember& member(std::size_t i) { return *members_[i]; }
  std::size_t size() const { return members_.size(); }
  // Asks member `i`.
  std::size_t leader(std::size_t i = 0);
  const TempDirectory& directory() const { return directory_; }

 private:
  TempDirectory directory_;
  std::vector<std::unique_ptr<EtcdMember>> members_;
};

// An operator's request to a member, as by curl; the body of the answer, empty when there is none.
std::string post(int port, const std::string& path, const std::string& body, const std::string& token = {});
std::string base64(const std::string& text);

}  // namespace holdfast::coord::test
