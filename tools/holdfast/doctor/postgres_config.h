// The settings of a PostgreSQL server as its files say them.
#pragma once

#include <map>
#include <string>

#include "tools/holdfast/doctor/host_view.h"

namespace holdfast::cli {

using PostgresSettings = std::map<std::string, std::string>;  // Names in lower case.

// postgresql.conf with what it includes.
PostgresSettings read_postgres_file(const HostView& host, const std::string& path);
// What ALTER SYSTEM wrote, and the words that the running server was started with, which win over the files.
void add_postgres_overrides(const HostView& host, const std::string& data_folder, PostgresSettings& settings);
// "on" or "off" for any spelling of a truth value that PostgreSQL takes; else the value in lower case.
std::string plain_value(const std::string& text);

}  // namespace holdfast::cli
