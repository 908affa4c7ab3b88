// Somebody where an etcd should be: servers that misbehave on purpose, and one that passes requests on to a real etcd until it is
// told to do something else with them.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace holdfast::coord::test {

class FakeServer {
 public:
  struct Request {
    std::string path, body, authorization;
  };
  // What comes back: a whole HTTP answer, or a part of one.
  struct Reply {
    std::string bytes;
    bool forever = false;     // The bytes again and again, until the other end has enough.
    bool stays_open = true;   // Else the connection is closed after it.
  };
  // Called for each request, on the connection's thread; several at once.
  using Behaviour = std::function<Reply(const Request&)>;

  explicit FakeServer(Behaviour behaviour);
  FakeServer(const FakeServer&) = delete;
  ~FakeServer();

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int requests() const { return requests_; }
  int connections() const { return connections_; }
  void await_no_connection();  // All that were made are closed, by us.

 private:
  void accept_all();
  void serve(int fd);
  Behaviour behaviour_;
  int listener_ = -1, port_ = 0;
  std::atomic<int> requests_ = 0, connections_ = 0, open_ = 0;
  std::mutex mutex_;
  std::set<int> fds_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

std::string http_answer(const std::string& body, const std::string& status = "200 OK");
// Says nothing, and keeps the connection.
FakeServer::Reply silence();
// Asks the etcd at `port`, and answers with what it said.
FakeServer::Reply pass_on(int port, const FakeServer::Request& request);

}  // namespace holdfast::coord::test
