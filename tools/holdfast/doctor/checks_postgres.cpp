// Settings of PostgreSQL by which acknowledged transactions are lost on any disk, this one included.
#include <array>

#include "tools/holdfast/doctor/checks.h"

namespace holdfast::cli {
namespace {

struct PostgresRule {
  const char* key;
  const char* harmful;
  Severity severity;
  const char* why;
};
constexpr std::array kPostgresRules{
    PostgresRule{"fsync", "off", Severity::wrong, "nothing that is acknowledged is on the volume, and a crash leaves a database that cannot be repaired"},
    PostgresRule{"full_page_writes", "off", Severity::wrong, "a page is two blocks of the volume, and a crash between them leaves half a page that nothing repairs"},
    PostgresRule{"data_sync_retry", "on", Severity::wrong, "after a failed flush the kernel has dropped the data, and the next flush succeeds without them"},
    PostgresRule{"synchronous_commit", "off", Severity::warning, "the last transactions before a crash are lost although they were acknowledged"},
    PostgresRule{"zero_damaged_pages", "on", Severity::warning, "a page that cannot be verified is replaced by an empty one"},
    PostgresRule{"ignore_checksum_failure", "on", Severity::warning, "damaged pages are used as if they were whole"},
    PostgresRule{"ignore_invalid_pages", "on", Severity::warning, "recovery goes on without what it cannot find"},
};

void check_settings(const Database& database, const std::string& subject, Report& report) {
  std::size_t held = 0;
  for (const PostgresRule& rule : kPostgresRules) {
    const auto found = database.settings.find(rule.key);
    if (found == database.settings.end() || plain_value(found->second) != rule.harmful) {
      ++held;
      continue;
    }
    report.add(rule.severity, subject, std::string(rule.key) + " is " + rule.harmful + ": " + rule.why,
               std::string("ALTER SYSTEM RESET ") + rule.key + ", and take it out of " + (database.config.empty() ? "the server's command line" : database.config) + "; then restart PostgreSQL");
  }
  if (held == kPostgresRules.size()) report.add(Severity::fine, subject, "no setting loses acknowledged transactions");
}

// A unit that has to wait for the mount, whatever its instance is named.
bool is_postgres_unit(const std::string& folder) { return folder.starts_with("postgresql") && folder.ends_with(".service.d"); }

}  // namespace

void check_databases(const HostFacts& facts, Report& report) {
  for (const Database& database : facts.databases) {
    const std::string subject = "database " + database.folder;
    if (database.place.empty()) {
      report.add(Severity::note, subject, "it is not on a volume of Holdfast: it is not looked at");
      continue;
    }
    check_settings(database, subject, report);
    if (database.config.empty()) report.add(Severity::note, subject, "its postgresql.conf was not found", "say where its data are with --pgdata");
    const bool log_elsewhere = database.log_folder.starts_with('/') && !database.log_folder.starts_with(database.place + "/");
    if (log_elsewhere) report.add(Severity::wrong, subject, "pg_wal is in " + database.log_folder + ", which is not below " + database.place + ": when this host is gone, so are the last transactions",
                                  "stop PostgreSQL and move pg_wal onto the volume");
  }
}

void check_service_order(const HostView& host, const HostFacts& facts, Report& report) {
  if (!facts.has_systemd) return;
  for (const Database& database : facts.databases) {
    if (database.place.empty()) continue;
    bool waits = false;
    for (const std::string& folder : host.list("/etc/systemd/system")) {
      if (!is_postgres_unit(folder)) continue;
      for (const std::string& file : host.list("/etc/systemd/system/" + folder))
        for (const std::string& line : lines_of(host.read("/etc/systemd/system/" + folder + "/" + file).value_or("")))
          if (line.starts_with("RequiresMountsFor=") && line.find(database.place) != std::string::npos) waits = true;
    }
    report.expect(waits, Severity::warning, "database " + database.folder, "PostgreSQL starts after the mount, and not without it",
                  "PostgreSQL's unit does not wait for " + database.place + ": it may start on the empty folder below the mount", "pg-host-setup --service UNIT");
  }
}

}  // namespace holdfast::cli
