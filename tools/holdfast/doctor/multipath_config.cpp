#include "tools/holdfast/doctor/multipath_config.h"

#include <algorithm>
#include <regex>

namespace holdfast::cli {
namespace {

// Words, braces and quoted texts; a comment goes up to the end of its line.
std::vector<std::string> config_tokens(const std::string& line) {
  std::vector<std::string> tokens;
  for (std::size_t at = 0; at < line.size();) {
    const char c = line[at];
    if (c == '#' || c == '!') break;
    if (c == ' ' || c == '\t' || c == '\r') {
      ++at;
    } else if (c == '{' || c == '}') {
      tokens.emplace_back(1, c);
      ++at;
    } else if (c == '"') {
      const auto end = std::min(line.find('"', at + 1), line.size());
      tokens.push_back(line.substr(at + 1, end - at - 1));
      at = end + 1;
    } else {
      const auto end = std::min(line.find_first_of(" \t\r{}\"", at), line.size());
      tokens.push_back(line.substr(at, end - at));
      at = end;
    }
  }
  return tokens;
}

bool fits(const std::string& pattern, const std::string& text) {
  try {
    return std::regex_search(text, std::regex(pattern, std::regex::extended));
  } catch (const std::regex_error&) {
    return false;
  }
}

const std::string* find_value(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? nullptr : &found->second;
}

}  // namespace

void MultipathConfig::add(const std::string& text) {
  std::vector<std::size_t> open;  // Indices of the sections that the line is in.
  for (const std::string& line : lines_of(text)) {
    std::string word;  // One that is a section's name if a brace follows, else a key if a value does.
    for (const std::string& token : config_tokens(line)) {
      if (token == "{") {
        const std::string outer = open.empty() ? "" : sections_[open.back()].path + "/";
        open.push_back(sections_.size());
        sections_.push_back({outer + word, {}});
        word.clear();
      } else if (token == "}") {
        if (!open.empty()) open.pop_back();
        word.clear();
      } else if (word.empty()) {
        word = token;
      } else {
        if (!open.empty()) sections_[open.back()].values[word] = token;
        word.clear();
      }
    }
  }
}

std::optional<std::string> MultipathConfig::value(const std::string& key, const std::string& vendor, const std::string& product,
                                                  const std::string& wwid) const {
  std::optional<std::string> of_disk, of_all, of_kind, by_default;
  for (const Section& section : sections_) {
    const std::string* found = find_value(section.values, key);
    if (!found) continue;
    if (section.path == "multipaths/multipath") {
      const std::string* named = find_value(section.values, "wwid");
      if (named && *named == wwid) of_disk = *found;
    } else if (section.path == "overrides") {
      of_all = *found;
    } else if (section.path == "devices/device") {
      const std::string* made_by = find_value(section.values, "vendor");
      const std::string* kind = find_value(section.values, "product");
      if (made_by && fits(*made_by, vendor) && (!kind || fits(*kind, product))) of_kind = *found;
    } else if (section.path == "defaults") {
      by_default = *found;
    }
  }
  for (const auto& found : {of_disk, of_all, of_kind, by_default})
    if (found) return found;
  return std::nullopt;
}

MultipathConfig read_multipath_config(const HostView& host) {
  MultipathConfig config;
  config.add(host.read("/etc/multipath.conf").value_or(""));
  for (const std::string& name : host.list("/etc/multipath/conf.d"))
    if (name.ends_with(".conf")) config.add(host.read("/etc/multipath/conf.d/" + name).value_or(""));
  return config;
}

}  // namespace holdfast::cli
