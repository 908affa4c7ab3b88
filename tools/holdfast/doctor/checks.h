// The doctor's checks. Each looks at what was collected and says what it found: that something holds, or what is wrong and what to do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/holdfast/doctor/facts.h"

namespace holdfast::cli {

enum class Severity : std::uint8_t {
  fine,
  note,     // Worth knowing.
  warning,  // Costs time at a fail-over, or will be wrong after the next boot or upgrade.
  wrong,    // I/O errors, a volume that does not come back, or lost transactions.
};

struct Finding {
  Severity severity = Severity::fine;
  std::string subject;  // "volume pg", "host", "database /srv/pg/15/main"
  std::string text;
  std::string remedy;   // Empty when nothing has to be done.
};

class Report {
 public:
  void add(Severity severity, std::string subject, std::string text, std::string remedy = {}) {
    findings_.push_back({severity, std::move(subject), std::move(text), std::move(remedy)});
  }
  // `fine` when it holds, else the other text with its remedy.
  void expect(bool holds, Severity otherwise, const std::string& subject, const std::string& fine, const std::string& text, const std::string& remedy) {
    holds ? add(Severity::fine, subject, fine) : add(otherwise, subject, text, remedy);
  }
  const std::vector<Finding>& findings() const { return findings_; }

 private:
  std::vector<Finding> findings_;
};

struct DoctorLimits {
  std::uint32_t lease_ms = 600;  // Of the cluster that serves the volumes.
};

void check_programs(const HostFacts& facts, Report& report);
void check_records(const HostFacts& facts, Report& report);
void check_sessions(const HostFacts& facts, const DoctorLimits& limits, Report& report);
void check_maps(const HostFacts& facts, Report& report);
void check_multipath_settings(const HostFacts& facts, Report& report);
void check_mounts(const HostFacts& facts, Report& report);
void check_databases(const HostFacts& facts, Report& report);
// These read files which concern nothing else.
void check_service_order(const HostView& host, const HostFacts& facts, Report& report);
void check_unattended_restarts(const HostView& host, Report& report);
void check_kernel(const HostView& host, Report& report);

}  // namespace holdfast::cli
