// The node's directory: made when missing, and held by one process at a time through its LOCK file. The lock is the
// kernel's and goes with the process; the process id inside is for the message only.
#pragma once

#include <string>

#include "base/result.h"
#include "io/unique_fd.h"

namespace holdfast::io {

class DataDirectory {
 public:
  // Errors: locked (names the process that has it), permission, invalid_argument (not a directory), no_space.
  static Result<DataDirectory> open(std::string path);

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  // Makes created, renamed and removed names durable.
  Result<void> sync() const;

 private:
  std::string path_;
  UniqueFd directory_;
  UniqueFd lock_;
};

}  // namespace holdfast::io
