// multipath's configuration as its files say it: /etc/multipath.conf, then /etc/multipath/conf.d/*.conf.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/holdfast/doctor/host_view.h"

namespace holdfast::cli {

class MultipathConfig {
 public:
  // Adds a file's text. What is not understood is passed over, as multipath does.
  void add(const std::string& text);

  // What holds for such a disk: its own `multipath` section, `overrides`, the last `device` section that fits, `defaults`.
  std::optional<std::string> value(const std::string& key, const std::string& vendor, const std::string& product, const std::string& wwid) const;

 private:
  struct Section {
    std::string path;  // Like "devices/device".
    std::map<std::string, std::string> values;
  };
  std::vector<Section> sections_;
};

MultipathConfig read_multipath_config(const HostView& host);

}  // namespace holdfast::cli
