// What the sections of the configuration share: files beside it, secrets, lists of addresses.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/holdfastd/address.h"
#include "tools/holdfastd/config.h"
#include "tools/holdfastd/toml_section.h"

namespace holdfast::daemon {

struct FileText {
  std::string text;
  mode_t mode = 0;
};
Result<FileText> read_file(const std::string& path, std::size_t bytes_max);

// A path in the configuration, as seen from the configuration's own folder.
std::string beside(const std::string& file, const std::string& path);

// A path that is kept for later; empty when the key is absent.
void path_text(TomlSection& section, std::string_view key, std::string& out);

// The first line of a file that only its owner may read.
void secret_file(TomlSection& section, std::string_view key, std::string& out, std::size_t bytes_max);

void read_addresses(TomlSection& section, std::string_view key, PortRule port, std::vector<Address>& out);

// [cluster]; absent: nothing.
void read_cluster(TomlSection section, const NodeConfig& node, const IscsiConfig& iscsi, std::optional<ClusterConfig>& out);

}  // namespace holdfast::daemon
