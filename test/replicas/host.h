// A host with a path to each node, as far as a test needs one: it writes and reads over whichever path serves, as multipath would, and
// keeps a ledger of what was acknowledged.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

struct iscsi_context;

namespace holdfast::replicas {

class Host {
 public:
  Host(std::vector<std::string> portals, std::string volume);
  ~Host();
  Host(const Host&) = delete;

  // Until it is acknowledged, over one path or another. Returns how long that took; fails the test after 30 s.
  std::int64_t write_ms(std::uint64_t block, std::uint64_t stamp);
  // One try, as an initiator that comes back makes it.
  bool logs_in(std::size_t path);
  // Every block that was ever acknowledged has its newest stamp.
  void expect_ledger();
  std::size_t acknowledged() const { return ledger_.size(); }

 private:
  struct Drop {
    void operator()(iscsi_context* path) const;
  };
  using Path = std::unique_ptr<iscsi_context, Drop>;
  Path make_path(std::size_t path) const;
  bool connect(std::size_t path);
  bool write_once(std::size_t path, std::uint64_t block, std::uint64_t stamp);
  bool read_once(std::size_t path, std::uint64_t block, std::uint64_t* stamp);
  // Tries path by path, the one that served last first.
  template <class F>
  std::int64_t over_any_path(const char* what, F once);

  std::vector<std::string> portals_;
  std::string volume_;
  std::vector<Path> paths_;
  std::size_t current_ = 0;
  std::map<std::uint64_t, std::uint64_t> ledger_;
};

}  // namespace holdfast::replicas
