// What the tests of io share: a reactor, a temporary directory, and files in it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "io/reactor.h"
#include "io/run_task.h"
#include "io/store_file.h"

namespace holdfast::io::test {

inline std::unique_ptr<Reactor> make_reactor(ReactorOptions options = {.buffer_bytes = 4 << 20}) {
  auto reactor = Reactor::create(options);
  EXPECT_TRUE(reactor.has_value()) << reactor.error().text();
  return std::move(*reactor);
}

// Below the working directory rather than in /tmp, which may be a file system without O_DIRECT.
class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (std::filesystem::current_path() / "io_test_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  TempDirectory(const TempDirectory&) = delete;
  ~TempDirectory() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string make_store(const TempDirectory& directory, std::uint64_t bytes = 1 << 20) {
  std::string path = directory.file("store");
  const auto created = create_store_file(path, bytes);
  EXPECT_TRUE(created.has_value()) << created.error().text();
  return path;
}

}  // namespace holdfast::io::test
