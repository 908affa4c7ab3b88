#include "tools/holdfast/commands.h"

#include <boost/json.hpp>

#include <fstream>
#include <ostream>

#include "admin/names.h"
#include "admin/size_text.h"
#include "tools/holdfast/documents.h"
#include "tools/holdfast/table.h"
#include "tools/holdfast/volume_texts.h"

namespace holdfast::cli {
namespace {

namespace json = boost::json;

constexpr std::int64_t kTimeoutMs = 30'000;
constexpr std::int64_t kSlowTimeoutMs = 330'000;  // Creating zeroes the log; deleting frees the space.

std::string counted(std::uint64_t count, std::uint64_t bytes) {
  return std::to_string(count) + " (" + admin::size_text(bytes) + ")";
}

std::string volume_text(const json::object& volume) {
  const json::object log = object_at(volume, "log"), store = object_at(volume, "store"), lsn = object_at(volume, "lsn");
  const json::object io = object_at(volume, "io"), recovery = object_at(volume, "recovery");
  return fields_text({
      {"Name", text_at(volume, "name")},
      {"Health", health_text(volume)},
      {"Reason", text_at(volume, "reason")},
      {"Target", text_at(volume, "target")},
      {"UUID", text_at(volume, "uuid")},
      {"Size", size_at(volume, "size_bytes")},
      {"Allocated", size_at(volume, "allocated_bytes")},
      {"Sessions", std::to_string(number_at(volume, "sessions"))},
      {"Store", text_at(store, "path")},
      {"Store size", size_at(store, "bytes") + ", " + size_at(store, "free_bytes") + " free for new data"},
      {"Sync latency", std::to_string(number_at(store, "sync_latency_us")) + " us when it was opened"},
      {"Log", size_at(log, "bytes") + ", " + size_at(log, "used_bytes") + " in use"},
      {"LSN", "last " + std::to_string(number_at(lsn, "last")) + ", committed " + std::to_string(number_at(lsn, "commit")) +
                  ", applied " + std::to_string(number_at(lsn, "applied")) + ", checkpoint " +
                  std::to_string(number_at(lsn, "checkpoint"))},
      {"Epoch", std::to_string(number_at(volume, "epoch"))},
      {"Reads", counted(number_at(io, "reads"), number_at(io, "read_bytes"))},
      {"Writes", counted(number_at(io, "writes"), number_at(io, "write_bytes"))},
      {"Unmaps", std::to_string(number_at(io, "unmaps"))},
      {"Checksum errors", std::to_string(number_at(store, "checksum_errors"))},
      {"Last recovery", std::to_string(number_at(recovery, "records")) + " records in " +
                            std::to_string(number_at(recovery, "ms")) + " ms"},
  });
}

int bad_name(Output output, const Error& error) {
  output.err << "holdfast: " << error.message << "\n";
  return kUsage;
}

}  // namespace

int volume_create(Client& client, Output output, const CreateOptions& options) {
  json::object body;
  body["name"] = options.name;
  body["size"] = options.size_bytes;
  if (options.log_bytes > 0) body["log_size"] = options.log_bytes;
  if (!options.device.empty()) body["device"] = options.device;
  if (options.replicas > 0) body["replicas"] = options.replicas;
  if (options.min_in_sync > 0) body["min_in_sync"] = options.min_in_sync;
  if (!options.members.empty()) body["members"] = json::array(options.members.begin(), options.members.end());
  const Document made = ask(client, output, {"POST", "/v1/volumes", json::serialize(body), kSlowTimeoutMs});
  if (!made.body) return made.code;
  if (output.format == Format::json) return kOk;
  output.out << "Created volume " << text_at(*made.body, "name") << " of " << size_at(*made.body, "size_bytes") << ".\n"
             << "Target: " << text_at(*made.body, "target") << "\n"
             << "Store:  " << text_at(object_at(*made.body, "store"), "path") << "\n";
  if (const std::string reason = text_at(*made.body, "reason"); !reason.empty()) output.out << "Note:   " << reason << "\n";
  return kOk;
}

int volume_list(Client& client, Output output, bool names_only) {
  const Document list = ask(client, output, {"GET", "/v1/volumes", {}, kTimeoutMs});
  if (!list.body) return list.code;
  if (output.format == Format::json) return kOk;
  const json::array volumes = array_at(*list.body, "volumes");
  if (names_only) {
    for (const json::value& volume : volumes) {
      if (volume.is_object()) output.out << text_at(volume.get_object(), "name") << "\n";
    }
    return kOk;
  }
  if (volumes.empty()) {
    output.out << "No volumes. Make one with: holdfast volume create NAME --size 10GiB\n";
    return kOk;
  }
  output.out << volume_table(volumes);
  return kOk;
}

int volume_show(Client& client, Output output, const std::string& name) {
  if (const auto valid = admin::check_volume_name(name); !valid) return bad_name(output, valid.error());
  const Document shown = ask(client, output, {"GET", "/v1/volumes/" + name, {}, kTimeoutMs});
  if (shown.body && output.format == Format::table) output.out << volume_text(*shown.body);
  return shown.code;
}

int volume_delete(Client& client, Output output, const DeleteOptions& options) {
  if (const auto valid = admin::check_volume_name(options.name); !valid) return bad_name(output, valid.error());
  if (!options.confirmed) {
    if (!options.ask) {
      output.err << "holdfast: deleting volume " << options.name << " destroys its data: confirm with --yes\n";
      return kUsage;
    }
    Output quiet = output;
    quiet.format = Format::table;
    const Document shown = ask(client, quiet, {"GET", "/v1/volumes/" + options.name, {}, kTimeoutMs});
    if (!shown.body) return shown.code;
    const std::string typed = options.ask("This destroys volume " + options.name + " (" + size_at(*shown.body, "size_bytes") +
                                          ", " + size_at(*shown.body, "allocated_bytes") + " allocated, " +
                                          std::to_string(number_at(*shown.body, "sessions")) +
                                          " sessions) and all of its data.\nType its name to go on: ");
    if (typed != options.name) {
      output.err << "holdfast: not confirmed, nothing was deleted\n";
      return kUsage;
    }
  }
  const std::string target = "/v1/volumes/" + options.name + (options.force ? "?force=true" : "");
  const Document gone = ask(client, output, {"DELETE", target, {}, kSlowTimeoutMs});
  if (gone.body && output.format == Format::table) output.out << "Deleted volume " << options.name << ".\n";
  return gone.code;
}

Result<std::string> read_token(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path);
  std::string token;
  if (!file || !std::getline(file, token)) {
    return fail(Errc::invalid_argument, "cannot read a token from " + admin::printable(path));
  }
  while (token.ends_with('\r') || token.ends_with(' ')) token.pop_back();
  for (const char c : token) {
    if (c <= ' ' || c > '~') return fail(Errc::invalid_argument, "the token in " + admin::printable(path) + " has odd characters");
  }
  if (token.empty()) return fail(Errc::invalid_argument, admin::printable(path) + " is empty");
  return token;
}

}  // namespace holdfast::cli
