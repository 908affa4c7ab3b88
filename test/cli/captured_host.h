// A captured tree of a PostgreSQL host on which everything is as it should be: two nodes, one volume, one database. Tests break it.
#pragma once

#include <string>

#include "test/cli/program.h"

namespace holdfast::cli {

class CapturedHost {
 public:
  CapturedHost();

  const std::string& root() const { return folder_.path(); }
  // The file as a whole, with the folders above it.
  void write(const std::string& path, const std::string& text);
  // The first `from` of the file becomes `to`; fails the test when there is none.
  void replace(const std::string& path, const std::string& from, const std::string& to);
  void link(const std::string& path, const std::string& target);
  void remove(const std::string& path);

 private:
  void add_path(int number, const std::string& address);
  void add_map();
  void add_machine();
  void add_database();

  TemporaryFolder folder_;
};

}  // namespace holdfast::cli
