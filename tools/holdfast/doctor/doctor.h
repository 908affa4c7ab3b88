// holdfast doctor: looks at a PostgreSQL host and says what is wrong and what to do. It talks to no node and changes nothing.
#pragma once

#include <string>
#include <vector>

#include "tools/holdfast/commands.h"
#include "tools/holdfast/doctor/checks.h"

namespace holdfast::cli {

struct DoctorOptions {
  std::string root = "/";
  std::string volume;                  // Empty: all of Holdfast's.
  std::vector<std::string> databases;  // Folders of data, besides those that are found.
  DoctorLimits limits;
  bool verbose = false;                // Also what is fine.
};

// Everything that the checks found, in order.
std::vector<Finding> examine_host(const HostView& host, const DoctorOptions& options);
// Exit code kUnhealthy when something is wrong; warnings and notes are no failure.
int doctor(Output output, const DoctorOptions& options);

}  // namespace holdfast::cli
