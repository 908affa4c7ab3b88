#include "tools/holdfastd/toml_section.h"

#include <algorithm>
#include <limits>

#include "admin/names.h"
#include "admin/size_text.h"
#include "base/ensure.h"

namespace holdfast::daemon {
namespace {

std::string_view type_name(toml::node_type type) {
  switch (type) {
    case toml::node_type::table: return "a table";
    case toml::node_type::array: return "an array";
    case toml::node_type::string: return "a text";
    case toml::node_type::integer: return "a number";
    case toml::node_type::floating_point: return "a number with a point";
    case toml::node_type::boolean: return "true or false";
    default: return "a date or time";
  }
}

// Letters to insert, delete, replace or swap with a neighbour (optimal string alignment).
std::size_t typing_errors(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::string size_bounds(Bounds<std::uint64_t> bounds) {
  std::string out = bounds.multiple_of > 1 ? "a multiple of " + admin::exact_size_text(bounds.multiple_of) + " from " : "from ";
  return out + admin::exact_size_text(bounds.min) + " to " + admin::exact_size_text(bounds.max) + " is allowed";
}

std::string ms_text(std::int64_t ms) {
  if (ms % 3'600'000 == 0) return std::to_string(ms / 3'600'000) + "h";
  if (ms % 60'000 == 0) return std::to_string(ms / 60'000) + "min";
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + "s" : std::to_string(ms) + "ms";
}

}  // namespace

std::string nearest(std::string_view word, const std::set<std::string, std::less<>>& names) {
  constexpr std::size_t kWordBytesMax = 64;
  if (word.size() > kWordBytesMax) return {};
  std::string best;
  std::size_t best_errors = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& name : names) {
    const std::size_t errors = typing_errors(word, name);
    if (errors < best_errors) {
      best = name;
      best_errors = errors;
    }
  }
  return best;
}

TomlSection::TomlSection(ConfigReport& report, std::string path, const toml::table* table)
    : report_(&report), path_(std::move(path)), table_(table) {}

const toml::node* TomlSection::find(std::string_view key) {
  known_.emplace(key);
  return table_ ? table_->get(key) : nullptr;
}

unsigned TomlSection::line_of(std::string_view key) const {
  if (!table_) return 0;
  for (const auto& [name, node] : *table_) {
    if (name.str() == key) return name.source().begin.line ? name.source().begin.line : node.source().begin.line;
  }
  return table_->source().begin.line;
}

std::string TomlSection::path_of(std::string_view key) const {
  const std::string shown = admin::printable(key);
  if (path_.empty()) return shown;
  return key.empty() ? path_ : path_ + "." + shown;
}

void TomlSection::error(std::string_view key, std::string message) {
  report_->errors.push_back({report_->file, line_of(key), path_of(key), std::move(message)});
}

void TomlSection::warn(std::string_view key, std::string message) {
  report_->warnings.push_back({report_->file, line_of(key), path_of(key), std::move(message)});
}

bool TomlSection::wrong_type(std::string_view key, const toml::node& node, toml::node_type wanted, std::string_view example) {
  if (node.type() == wanted) return false;
  std::string message = "is " + std::string(type_name(node.type())) + ", but must be " + std::string(type_name(wanted));
  error(key, message + ", like " + std::string(example));
  return true;
}

void TomlSection::text(std::string_view key, std::string& out) {
  const toml::node* node = find(key);
  if (!node || wrong_type(key, *node, toml::node_type::string, std::string(key) + " = \"...\"")) return;
  std::string value = node->as_string()->get();
  if (value.empty()) return error(key, "is empty; leave the line out to get the default");
  if (value.find('\0') != value.npos) return error(key, "contains a zero byte");
  out = std::move(value);
}

void TomlSection::size(std::string_view key, std::uint64_t& out, Bounds<std::uint64_t> bounds) {
  const toml::node* node = find(key);
  if (!node || wrong_type(key, *node, toml::node_type::string, std::string(key) + " = \"256MiB\" (with quotes and a unit)")) {
    return;
  }
  const auto bytes = admin::parse_size(node->as_string()->get());
  if (!bytes) return error(key, bytes.error().message);
  const std::string given = "\"" + admin::printable(node->as_string()->get()) + "\"";
  if (*bytes < bounds.min) return error(key, given + " is too small; " + size_bounds(bounds));
  if (*bytes > bounds.max) return error(key, given + " is too large; " + size_bounds(bounds));
  if (*bytes % bounds.multiple_of != 0) {
    return error(key, given + " is no multiple of " + admin::exact_size_text(bounds.multiple_of) + "; " + size_bounds(bounds));
  }
  out = *bytes;
}

void TomlSection::size(std::string_view key, std::uint32_t& out, Bounds<std::uint64_t> bounds) {
  ENSURE(bounds.max <= std::numeric_limits<std::uint32_t>::max());
  std::uint64_t wide = out;
  size(key, wide, bounds);
  out = static_cast<std::uint32_t>(wide);
}

void TomlSection::duration(std::string_view key, std::int64_t& out_ms, Bounds<std::int64_t> bounds_ms) {
  const toml::node* node = find(key);
  if (!node || wrong_type(key, *node, toml::node_type::string, std::string(key) + " = \"5s\" (with quotes and a unit)")) return;
  const auto value = admin::parse_duration_ms(node->as_string()->get());
  if (!value) return error(key, value.error().message);
  if (*value < bounds_ms.min || *value > bounds_ms.max) {
    return error(key, "\"" + admin::printable(node->as_string()->get()) + "\" is too " +
                          (*value < bounds_ms.min ? "short" : "long") + "; from " + ms_text(bounds_ms.min) + " to " +
                          ms_text(bounds_ms.max) + " is allowed");
  }
  out_ms = *value;
}

void TomlSection::count(std::string_view key, unsigned& out, Bounds<unsigned> bounds) {
  const toml::node* node = find(key);
  if (!node || wrong_type(key, *node, toml::node_type::integer, std::string(key) + " = " + std::to_string(bounds.max))) return;
  const std::int64_t value = node->as_integer()->get();
  if (value < std::int64_t{bounds.min} || value > std::int64_t{bounds.max}) {
    return error(key, std::to_string(value) + " is too " + (value < std::int64_t{bounds.min} ? "small" : "large") +
                          "; from " + std::to_string(bounds.min) + " to " + std::to_string(bounds.max) + " is allowed");
  }
  out = static_cast<unsigned>(value);
}

void TomlSection::texts(std::string_view key, std::size_t count_max,
                        const std::function<std::string(const std::string&)>& take) {
  const toml::node* node = find(key);
  if (!node || wrong_type(key, *node, toml::node_type::array, std::string(key) + " = [\"...\", \"...\"]")) return;
  const toml::array& elements = *node->as_array();
  if (elements.empty()) return error(key, "is an empty list; leave the line out to get the default");
  if (elements.size() > count_max) {
    return error(key, std::to_string(elements.size()) + " elements are too many; at most " + std::to_string(count_max) +
                          " are allowed");
  }
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const auto* text = elements[i].as_string();
    const std::string place = "element " + std::to_string(i + 1) + ": ";
    if (!text) {
      error(key, place + "is " + std::string(type_name(elements[i].type())) + ", but must be a text");
      continue;
    }
    const std::string wrong = take(text->get());
    if (!wrong.empty()) error(key, place + wrong);
  }
}

void TomlSection::choice(std::string_view key, std::span<const std::string_view> names,
                         const std::function<void(std::size_t)>& take) {
  const toml::node* node = find(key);
  if (!node || wrong_type(key, *node, toml::node_type::string, std::string(key) + " = \"" + std::string(names[0]) + "\"")) return;
  const std::string& value = node->as_string()->get();
  std::string allowed;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == value) return take(i);
    allowed.append(allowed.empty() ? "" : ", ").append(names[i]);
  }
  error(key, "\"" + admin::printable(value) + "\" is not known; allowed: " + allowed);
}

TomlSection TomlSection::section(std::string_view key) {
  const toml::node* node = find(key);
  if (node && wrong_type(key, *node, toml::node_type::table, "[" + path_of(key) + "]")) node = nullptr;
  return TomlSection(*report_, path_of(key), node ? node->as_table() : nullptr);
}

void TomlSection::each_section(const std::function<void(const std::string&, TomlSection)>& visit) {
  if (!table_) return;
  for (const auto& [name, node] : *table_) {
    const std::string key(name.str());
    TomlSection child = section(key);
    if (child.table_) visit(key, std::move(child));
  }
}

void TomlSection::finish() {
  if (!table_) return;
  for (const auto& [name, node] : *table_) {
    if (known_.contains(name.str())) continue;
    const std::string near = nearest(name.str(), known_);
    std::string message = "unknown key";
    if (!near.empty()) {
      message.append("; did you mean ").append(near).append("?");
    } else {
      message.append("; known here:");
      for (const std::string& key : known_) message.append(" ").append(key);
    }
    error(name.str(), std::move(message));
  }
}

}  // namespace holdfast::daemon
