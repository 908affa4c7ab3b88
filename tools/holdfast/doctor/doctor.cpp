#include "tools/holdfast/doctor/doctor.h"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <ostream>

namespace holdfast::cli {
namespace {

namespace json = boost::json;

struct SeverityName {
  const char* shown;
  const char* key;
};
constexpr std::array<SeverityName, 4> kSeverityNames{{{"ok     ", "ok"}, {"note   ", "note"}, {"WARNING", "warning"}, {"WRONG  ", "wrong"}}};

const SeverityName& name_of(Severity severity) { return kSeverityNames.at(static_cast<std::size_t>(severity)); }

std::size_t count_of(const std::vector<Finding>& findings, Severity severity) {
  return static_cast<std::size_t>(std::count_if(findings.begin(), findings.end(), [&](const Finding& finding) { return finding.severity == severity; }));
}

std::string counted_text(std::size_t count, const std::string& what) { return std::to_string(count) + " " + what + (count == 1 ? "" : "s"); }

void print_findings(std::ostream& out, const std::vector<Finding>& findings, bool verbose) {
  std::string subject;
  for (const Finding& finding : findings) {
    if (finding.severity == Severity::fine && !verbose) continue;
    if (finding.subject != subject) out << finding.subject << "\n";
    subject = finding.subject;
    out << "  " << name_of(finding.severity).shown << "  " << finding.text << "\n";
    if (!finding.remedy.empty()) out << "           -> " << finding.remedy << "\n";
  }
  const std::size_t wrong = count_of(findings, Severity::wrong), warnings = count_of(findings, Severity::warning);
  out << counted_text(findings.size(), "finding") << ": " << wrong << " wrong, " << counted_text(warnings, "warning") << ", " << counted_text(count_of(findings, Severity::note), "note") << ", "
      << count_of(findings, Severity::fine) << " ok\n";
}

json::object as_json(const std::vector<Finding>& findings) {
  json::array list;
  for (const Finding& finding : findings)
    list.push_back(json::object{{"severity", name_of(finding.severity).key}, {"subject", finding.subject}, {"text", finding.text}, {"remedy", finding.remedy}});
  return {{"findings", std::move(list)}, {"wrong", count_of(findings, Severity::wrong)}, {"warnings", count_of(findings, Severity::warning)}};
}

}  // namespace

std::vector<Finding> examine_host(const HostView& host, const DoctorOptions& options) {
  const HostFacts facts = collect_facts(host, options.volume, options.databases);
  Report report;
  check_programs(facts, report);
  check_unattended_restarts(host, report);
  check_kernel(host, report);
  if (facts.volumes.empty()) report.add(Severity::wrong, "host", "there is no volume of Holdfast here, neither on record nor in use", "pg-host-setup --volume NAME --portal ADDRESS --mount DIRECTORY");
  check_records(facts, report);
  check_sessions(facts, options.limits, report);
  check_maps(facts, report);
  check_multipath_settings(facts, report);
  check_mounts(facts, report);
  check_databases(facts, report);
  check_service_order(host, facts, report);
  std::vector<Finding> findings = report.findings();
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& one, const Finding& other) {  // The host first, then what belongs together.
    const auto rank = [](const Finding& finding) { return finding.subject == "host" ? "" : finding.subject; };
    return rank(one) < rank(other);
  });
  return findings;
}

int doctor(Output output, const DoctorOptions& options) {
  const HostView host(options.root);
  if (!host.exists("/")) {
    output.err << "holdfast: --root: there is no folder " << options.root << "\n";
    return kUsage;
  }
  const std::vector<Finding> findings = examine_host(host, options);
  if (output.format == Format::json) output.out << json::serialize(as_json(findings)) << "\n";
  else print_findings(output.out, findings, options.verbose);
  return count_of(findings, Severity::wrong) == 0 ? kOk : kUnhealthy;
}

}  // namespace holdfast::cli
