// What the program does once the command line is understood. Output goes to the streams given, so that tests can look.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/holdfast/client.h"

namespace holdfast::cli {

// Part of the interface: docs/operators.md and the man page list them.
enum ExitCode : int {
  kOk = 0,
  kRefused = 1,      // The node understood and said no; the message says why.
  kUsage = 2,        // The command line is wrong, or a confirmation is missing.
  kUnreachable = 3,  // No answer from the node; whether the command took effect is not known.
  kNotServing = 4,   // `status`: at least one volume does not serve.
  kGap = 5,          // `log follow`: records that the consumer needs are no longer in the log.
  kUnhealthy = 6,    // `doctor`: something is wrong on this host.
};

enum class Format : std::uint8_t { table, json };

struct Output {
  std::ostream& out;
  std::ostream& err;
  Format format = Format::table;
};

struct CreateOptions {
  std::string name;
  std::uint64_t size_bytes = 0;
  std::uint64_t log_bytes = 0;  // 0: the node's default.
  std::string device;
  std::uint64_t replicas = 0, min_in_sync = 0;  // 0: the node's default.
  std::vector<std::uint64_t> members;
};

struct DeleteOptions {
  std::string name;
  bool force = false;
  bool confirmed = false;
  // Asks on the terminal; empty where there is none.
  std::function<std::string(const std::string& question)> ask;
};

struct FollowOptions {
  std::string volume;             // Empty: the only one there is.
  std::string name;               // Of the consumer; made when there is none.
  std::string from = "now";       // Where a new one begins: "oldest" or "now".
  std::string payload_directory;  // Empty: no payload.
  bool once = false;              // Ends at the end of the log instead of waiting for more.
  bool skip_gaps = false;
};

int volume_create(Client& client, Output output, const CreateOptions& options);
int volume_list(Client& client, Output output, bool names_only);
int volume_show(Client& client, Output output, const std::string& name);
int volume_delete(Client& client, Output output, const DeleteOptions& options);
int node_status(Client& client, Output output);
// Shows it again every second, until it is interrupted.
int watch_status(Client& client, Output output);
int log_follow(Client& client, Output output, FollowOptions options);
int log_consumers(Client& client, Output output, std::string volume);
int log_drop(Client& client, Output output, std::string volume, const std::string& name);

// The bearer token in a file; empty path: none.
Result<std::string> read_token(const std::string& path);

}  // namespace holdfast::cli
