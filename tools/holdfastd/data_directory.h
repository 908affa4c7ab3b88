// The node's data directory: created, checked, and locked against a second node.
#pragma once

#include <string>

#include "base/result.h"
#include "io/unique_fd.h"

namespace holdfast::daemon {

class DataDirectory {
 public:
  // Creates the folder and `volumes` in it if they are missing (the parent must exist). Errors: locked (another holdfastd
  // runs on it; its process id is told), permission, not_found, no_space.
  static Result<DataDirectory> open(std::string path);

  const std::string& path() const { return path_; }
  std::string store_path(const std::string& volume) const { return path_ + "/volumes/" + volume + ".hf"; }

 private:
  DataDirectory(std::string path, io::UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::string path_;
  io::UniqueFd lock_;  // Released with the process, whatever becomes of it.
};

}  // namespace holdfast::daemon
