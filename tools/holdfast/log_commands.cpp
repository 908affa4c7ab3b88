// holdfast log: following the log of a volume as a named consumer. What was printed and written is confirmed afterwards, so a
// follower that dies is told the same records again, and none is left out.
#include <fcntl.h>
#include <unistd.h>

#include <ostream>

#include "admin/size_text.h"
#include "base/base64.h"
#include "tools/holdfast/commands.h"
#include "tools/holdfast/documents.h"
#include "tools/holdfast/table.h"

namespace holdfast::cli {
namespace {

namespace json = boost::json;

constexpr std::uint64_t kRecordsWithPayload = 64, kRecordsWithout = 1024;

Output quietly(Output output) {
  output.format = Format::table;
  return output;
}

// The volume that is meant: the one that was named, or the only one there is.
int find_volume(Client& client, Output output, std::string& name) {
  if (!name.empty()) return kOk;
  const Document list = ask(client, quietly(output), {"GET", "/v1/volumes", {}});
  if (!list.body) return list.code;
  const json::array volumes = array_at(*list.body, "volumes");
  if (volumes.size() == 1 && volumes[0].is_object()) {
    name = text_at(volumes[0].get_object(), "name");
    return kOk;
  }
  output.err << "holdfast: the node has " << volumes.size() << " volumes: say which one's log with --volume\n";
  return kUsage;
}

std::string range_text(const json::object& range) {
  return std::to_string(number_at(range, "first_block")) + "+" + std::to_string(number_at(range, "blocks"));
}

// Durable, because what is confirmed is not told again.
Result<void> write_file(const std::string& path, const std::vector<std::byte>& bytes) {
  const auto failed = [&] { return fail(Errc::io_error, "cannot write " + path); };
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return failed();
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t wrote = ::write(file, bytes.data() + done, bytes.size() - done);
    if (wrote <= 0) break;
    done += static_cast<std::size_t>(wrote);
  }
  const bool whole = done == bytes.size() && ::fsync(file) == 0;
  if (::close(file) != 0 || !whole) return failed();
  return {};
}

Result<void> sync_directory(const std::string& path) {
  const int directory = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool done = directory >= 0 && ::fsync(directory) == 0;
  if (directory >= 0) ::close(directory);
  if (!done) return fail(Errc::io_error, "cannot sync the directory " + path);
  return {};
}

// The payload goes into <directory>/<LSN>, and the record names the file instead.
Result<void> put_payload(json::object& record, const std::string& directory) {
  const std::string text = text_at(record, "payload");
  record.erase("payload");
  if (text.empty()) return {};
  const auto bytes = from_base64(text);
  if (!bytes) return fail(Errc::protocol, "the payload is not base64");
  const std::string path = directory + "/" + std::to_string(number_at(record, "lsn"));
  TRY(write_file(path, *bytes));
  record["file"] = path;
  return {};
}

void print_record(Output output, const json::object& record) {
  if (output.format == Format::json) {
    output.out << json::serialize(record) << "\n";
    return;
  }
  output.out << number_at(record, "lsn") << " epoch " << number_at(record, "epoch") << " " << text_at(record, "kind");
  const std::string volume = text_at(record, "volume");
  if (!volume.empty()) output.out << " " << volume;
  if (record.contains("first_block")) output.out << " " << range_text(record);
  for (const json::value& range : array_at(record, "superseded"))
    if (range.is_object()) output.out << " superseded " << range_text(range.get_object());
  const std::string file = text_at(record, "file");
  if (!file.empty()) output.out << " " << file;
  output.out << "\n";
}

std::string gap_text(const json::object& gap) {
  const bool known = gap.contains("bytes") && !gap.at("bytes").is_null();
  return "LSN " + std::to_string(number_at(gap, "start")) + " up to before " + std::to_string(number_at(gap, "end")) + ", " +
         (known ? admin::size_text(number_at(gap, "bytes")) + " written" : std::string("unknown bytes"));
}

void print_gap(Output output, const json::object& gap) {
  if (output.format == Format::json) output.out << json::serialize(json::object{{"gap", gap}}) << "\n" << std::flush;
  output.err << "holdfast: a gap: " << gap_text(gap) << ", is no longer in the log: what was carried out so far needs a new base\n";
}

std::string log_path(const FollowOptions& options) { return "/v1/volumes/" + options.volume; }

int print_batch(Output output, const FollowOptions& options, const json::object& batch) {
  for (const json::value& value : array_at(batch, "records")) {
    if (!value.is_object()) continue;
    json::object record = value.get_object();
    if (!options.payload_directory.empty()) {
      const auto put = put_payload(record, options.payload_directory);
      if (!put) {
        output.err << "holdfast: " << put.error().message << "\n";
        return kRefused;
      }
    }
    print_record(output, record);
  }
  if (!options.payload_directory.empty()) {
    if (const auto synced = sync_directory(options.payload_directory); !synced) {
      output.err << "holdfast: " << synced.error().message << "\n";
      return kRefused;
    }
  }
  output.out << std::flush;
  return output.out ? kOk : kRefused;  // A reader that has gone confirms nothing.
}

int confirm(Client& client, Output output, const FollowOptions& options, std::uint64_t lsn, bool durably) {
  const json::object body{{"confirmed", lsn}, {"durably", durably}};
  return ask(client, quietly(output), {"PUT", log_path(options) + "/consumers/" + options.name, json::serialize(body)}).code;
}

int follow_from(Client& client, Output output, const FollowOptions& options, std::uint64_t next) {
  const bool payload = !options.payload_directory.empty();
  for (;;) {
    std::string target = log_path(options) + "/log?from=" + std::to_string(next) + "&wait_ms=" + (options.once ? "0" : "5000");
    target += "&limit=" + std::to_string(payload ? kRecordsWithPayload : kRecordsWithout) + (payload ? "&payload=base64" : "");
    const Document batch = ask(client, quietly(output), {"GET", target, {}});
    if (!batch.body) return batch.code;
    const std::uint64_t after = number_at(*batch.body, "next");
    if (batch.body->contains("gap")) {
      print_gap(output, object_at(*batch.body, "gap"));
      if (!options.skip_gaps) return kGap;
    }
    if (const int printed = print_batch(output, options, *batch.body); printed != kOk) return printed;
    const bool at_end = after > number_at(*batch.body, "committed");
    if (after > next) {
      if (const int confirmed = confirm(client, output, options, after - 1, options.once && at_end); confirmed != kOk) return confirmed;
    }
    next = after;
    if (options.once && at_end) return kOk;
  }
}

}  // namespace

int log_follow(Client& client, Output output, FollowOptions options) {
  if (const int found = find_volume(client, output, options.volume); found != kOk) return found;
  const json::object wanted{{"name", options.name}, {"from", options.from}};
  Question create{"POST", log_path(options) + "/consumers", json::serialize(wanted)};
  create.accepted_status = 409;  // It is there already, and goes on where it was.
  const Document made = ask(client, quietly(output), std::move(create));
  if (!made.body) return made.code;
  const Document all = ask(client, quietly(output), {"GET", log_path(options) + "/consumers", {}});
  if (!all.body) return all.code;
  for (const json::value& consumer : array_at(*all.body, "consumers"))
    if (consumer.is_object() && text_at(consumer.get_object(), "name") == options.name)
      return follow_from(client, output, options, number_at(consumer.get_object(), "confirmed") + 1);
  output.err << "holdfast: consumer " << options.name << " was dropped just now\n";
  return kRefused;
}

int log_consumers(Client& client, Output output, std::string volume) {
  if (const int found = find_volume(client, output, volume); found != kOk) return found;
  const Document all = ask(client, output, {"GET", "/v1/volumes/" + volume + "/consumers", {}});
  if (!all.body || output.format == Format::json) return all.code;
  Table table({{"NAME", Align::left}, {"CONFIRMED", Align::right}, {"RECORDS BEHIND", Align::right}, {"BYTES BEHIND", Align::right}, {"GAP", Align::left}});
  const json::array consumers = array_at(*all.body, "consumers");
  for (const json::value& value : consumers) {
    if (!value.is_object()) continue;
    const json::object& c = value.get_object();
    const bool known = c.contains("lag_bytes") && !c.at("lag_bytes").is_null();
    table.add({text_at(c, "name"), std::to_string(number_at(c, "confirmed")), std::to_string(number_at(c, "lag_records")),
               known ? admin::size_text(number_at(c, "lag_bytes")) : "unknown", c.contains("gap") ? gap_text(object_at(c, "gap")) : ""});
  }
  output.out << (consumers.empty() ? std::string("No consumers. Follow the log with: holdfast log follow --name NAME\n") : table.text());
  return kOk;
}

int log_drop(Client& client, Output output, std::string volume, const std::string& name) {
  if (const int found = find_volume(client, output, volume); found != kOk) return found;
  const Document gone = ask(client, output, {"DELETE", "/v1/volumes/" + volume + "/consumers/" + name, {}});
  if (gone.body && output.format == Format::table) output.out << "Dropped consumer " << name << ".\n";
  return gone.code;
}

}  // namespace holdfast::cli
