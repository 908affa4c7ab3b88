// One table of the configuration while it is read: typed getters that report what is wrong instead of returning it, and
// remember which keys were asked for, so that finish() can refuse the others.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "tools/holdfastd/config.h"

namespace holdfast::daemon {

// Collects the mistakes of one file.
struct ConfigReport {
  std::string file;
  std::vector<ConfigError> errors;
  std::vector<ConfigError> warnings;
};

template <class T>
struct Bounds {
  T min, max;
  T multiple_of = 1;
};

class TomlSection {
 public:
  // table: null when the file has none: every getter then leaves the default.
  TomlSection(ConfigReport& report, std::string path, const toml::table* table);

  // Each leaves `out` as it is when the key is absent or wrong.
  void text(std::string_view key, std::string& out);
  void size(std::string_view key, std::uint64_t& out, Bounds<std::uint64_t> bounds);
  void size(std::string_view key, std::uint32_t& out, Bounds<std::uint64_t> bounds);
  void duration(std::string_view key, std::int64_t& out_ms, Bounds<std::int64_t> bounds_ms);
  void count(std::string_view key, unsigned& out, Bounds<unsigned> bounds);
  // An array of texts; each element is handed to `take`, which says what is wrong with it, or nothing.
  void texts(std::string_view key, std::size_t count_max, const std::function<std::string(const std::string&)>& take);
  // One of the names; `take` gets its index.
  void choice(std::string_view key, std::span<const std::string_view> names, const std::function<void(std::size_t)>& take);
  TomlSection section(std::string_view key);
  // The tables below this one by name, whatever they are called.
  void each_section(const std::function<void(const std::string& name, TomlSection section)>& visit);

  // A key that is known here, and is not looked at.
  void ignore(std::string_view key) { known_.emplace(key); }

  bool is_there() const { return table_ != nullptr; }
  bool has(std::string_view key) const { return table_ && table_->contains(key); }
  void error(std::string_view key, std::string message);
  void warn(std::string_view key, std::string message);
  const std::string& file() const { return report_->file; }

  // Every key nobody asked for is an error, with the nearest known name.
  void finish();

 private:
  const toml::node* find(std::string_view key);
  unsigned line_of(std::string_view key) const;
  std::string path_of(std::string_view key) const;
  bool wrong_type(std::string_view key, const toml::node& node, toml::node_type wanted, std::string_view example);

  ConfigReport* report_;
  std::string path_;
  const toml::table* table_;
  std::set<std::string, std::less<>> known_;
};

// The nearest of the names within two or so typing errors; empty when none is near.
std::string nearest(std::string_view word, const std::set<std::string, std::less<>>& names);

}  // namespace holdfast::daemon
