#include "tools/holdfast/doctor/postgres_config.h"

#include <algorithm>
#include <cctype>

namespace holdfast::cli {
namespace {

constexpr int kIncludeDepthMax = 10;  // PostgreSQL's own bound.

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// A value without its quotes or the comment behind it.
std::string bare_value(const std::string& text) {
  if (!text.starts_with('\'')) return trimmed(text.substr(0, text.find('#')));
  std::string out;
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (text[at] == '\'' && at + 1 < text.size() && text[at + 1] == '\'') {
      out += text[at++];
    } else if (text[at] == '\'') {
      break;
    } else {
      out += text[at];
    }
  }
  return out;
}

std::string beside(const std::string& file, const std::string& name) {
  return name.starts_with('/') ? name : file.substr(0, file.rfind('/') + 1) + name;
}

void add_file(const HostView& host, const std::string& path, int depth, PostgresSettings& out);

void add_setting(const HostView& host, const std::string& path, int depth, const std::string& key, const std::string& value, PostgresSettings& out) {
  if (key == "include" || key == "include_if_exists") {
    add_file(host, beside(path, value), depth + 1, out);
  } else if (key == "include_dir") {
    for (const std::string& name : host.list(beside(path, value)))
      if (name.ends_with(".conf") && !name.starts_with('.')) add_file(host, beside(path, value) + "/" + name, depth + 1, out);
  } else {
    out[key] = value;
  }
}

void add_file(const HostView& host, const std::string& path, int depth, PostgresSettings& out) {
  if (depth > kIncludeDepthMax) return;
  for (const std::string& raw : lines_of(host.read(path).value_or(""))) {
    const std::string line = trimmed(raw);
    if (line.empty() || line.starts_with('#')) continue;
    const auto end = std::min(line.find_first_of(" \t="), line.size());
    std::string rest = trimmed(line.substr(end));
    if (rest.starts_with('=')) rest = trimmed(rest.substr(1));
    add_setting(host, path, depth, lower(line.substr(0, end)), bare_value(rest), out);
  }
}

// postmaster.opts: the program and its arguments, each in double quotes.
std::vector<std::string> quoted_words(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = text.find('"'); at != std::string::npos; at = text.find('"', at)) {
    const auto end = text.find('"', at + 1);
    if (end == std::string::npos) break;
    out.push_back(text.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return out;
}

void add_assignment(const std::string& text, PostgresSettings& out) {
  const auto at = text.find('=');
  if (at == std::string::npos) return;
  std::string key = lower(text.substr(0, at));
  std::replace(key.begin(), key.end(), '-', '_');
  out[key] = text.substr(at + 1);
}

}  // namespace

PostgresSettings read_postgres_file(const HostView& host, const std::string& path) {
  PostgresSettings out;
  add_file(host, path, 0, out);
  return out;
}

void add_postgres_overrides(const HostView& host, const std::string& data_folder, PostgresSettings& settings) {
  add_file(host, data_folder + "/postgresql.auto.conf", 0, settings);
  if (!host.exists(data_folder + "/postmaster.pid")) return;  // It does not run: the words are of the last time.
  const std::vector<std::string> words = quoted_words(host.read(data_folder + "/postmaster.opts").value_or(""));
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "-F") settings["fsync"] = "off";
    if (word == "-c" && i + 1 < words.size()) add_assignment(words[++i], settings);
    else if (word.starts_with("-c")) add_assignment(word.substr(2), settings);
    else if (word.starts_with("--")) add_assignment(word.substr(2), settings);
  }
}

std::string plain_value(const std::string& text) {
  const std::string value = lower(trimmed(text));
  if (value.empty()) return value;
  const auto abbreviates = [&value](std::string_view whole, std::size_t least) { return value.size() >= least && whole.starts_with(value); };
  if (value == "1" || value == "on" || abbreviates("true", 1) || abbreviates("yes", 1)) return "on";
  if (value == "0" || abbreviates("off", 2) || abbreviates("false", 1) || abbreviates("no", 1)) return "off";
  return value;
}

}  // namespace holdfast::cli
