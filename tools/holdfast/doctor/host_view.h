// What the doctor looks at: a PostgreSQL host's files below a root (another one than "/" is a captured tree), and the few things that
// only the running kernel tells. In a captured tree those are files, too: /captured/dm-table/NAME and /captured/clock.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace holdfast::cli {

class HostView {
 public:
  explicit HostView(std::string root) : root_(std::move(root)) {}

  // The whole file, at most 4 MiB; nothing where it cannot be read. Links are followed inside the root.
  std::optional<std::string> read(const std::string& path) const;
  // Its first line without blanks at the ends; empty where it cannot be read. What sysfs has is of that kind.
  std::string line(const std::string& path) const;
  // Names, sorted, without "." and ".."; empty where there is no such folder.
  std::vector<std::string> list(const std::string& path) const;
  bool exists(const std::string& path) const;
  // What the link says, as it stands there; nothing where there is no link.
  std::optional<std::string> link(const std::string& path) const;

  // As `dmsetup table NAME` prints it; nothing where it cannot be told.
  std::optional<std::string> device_table(const std::string& name) const;
  // Whether the kernel's clock follows a time source; nothing where it cannot be told.
  std::optional<bool> clock_is_synchronized() const;

 private:
  bool is_live() const { return root_ == "/"; }
  int open_inside(const std::string& path, int flags) const;  // The descriptor, or -1.

  std::string root_;
};

std::string trimmed(const std::string& text);
std::vector<std::string> lines_of(const std::string& text);
std::vector<std::string> words_of(const std::string& text);

}  // namespace holdfast::cli
