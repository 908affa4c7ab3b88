#include "admin/log.h"

#include <boost/json.hpp>

#include <charconv>

#include "admin/invalid.h"
#include "admin/names.h"
#include "admin/volumes.h"
#include "base/base64.h"

namespace holdfast::admin {
namespace {

namespace json = boost::json;

constexpr std::uint64_t kEntriesMax = 4096;
constexpr std::int64_t kWaitMsMax = 5'000;  // Below what the server waits for the answer to a GET.

Result<std::uint64_t> number_of(std::string_view name, std::string_view text, std::uint64_t max) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > max)
    return invalid(std::string(name) + ": \"" + printable(text) + "\" is no whole number up to " + std::to_string(max));
  return number;
}

std::string_view kind_name(LogEntryKind kind) {
  switch (kind) {
    case LogEntryKind::write: return "write";
    case LogEntryKind::unmap: return "unmap";
    case LogEntryKind::epoch_start: return "epoch_start";
    case LogEntryKind::volume_create: return "volume_create";
    case LogEntryKind::volume_delete: return "volume_delete";
    case LogEntryKind::reservations: return "reservations";
  }
  return "unknown";
}

json::object gap_document(const LogGap& gap) {
  json::object out{{"start", gap.start.value}, {"end", gap.end.value}};
  out["bytes"] = gap.bytes ? json::value(*gap.bytes) : json::value(nullptr);
  return out;
}

json::object consumer_document(const ConsumerStatus& consumer) {
  json::object out{{"name", consumer.name}, {"confirmed", consumer.confirmed.value}, {"lag_records", consumer.lag_records}};
  out["lag_bytes"] = consumer.lag_bytes ? json::value(*consumer.lag_bytes) : json::value(nullptr);
  if (consumer.gap) out["gap"] = gap_document(*consumer.gap);
  return out;
}

json::object entry_document(const LogEntry& entry) {
  json::object out{{"lsn", entry.lsn.value}, {"epoch", entry.epoch.value}, {"kind", kind_name(entry.kind)}};
  if (entry.volume != VolumeId()) out["volume_id"] = entry.volume.value;
  if (!entry.volume_name.empty()) out["volume"] = entry.volume_name;
  const bool has_range = entry.kind == LogEntryKind::write || entry.kind == LogEntryKind::unmap;
  if (has_range) out["first_block"] = entry.first.value;
  if (has_range || entry.kind == LogEntryKind::volume_create) out["blocks"] = entry.count;
  if (!entry.superseded.empty()) {
    json::array ranges;
    for (const BlockRange& range : entry.superseded) ranges.push_back(json::object{{"first_block", range.first.value}, {"blocks", range.count.value}});
    out["superseded"] = std::move(ranges);
  }
  if (!entry.payload.empty()) out["payload"] = to_base64(entry.payload);
  return out;
}

Response document(unsigned status, const json::value& body) {
  Response response;
  response.status = status;
  response.body = json::serialize(body) + "\n";
  return response;
}

Result<json::object> body_of(const Request& request) {
  if (!is_json(request.content_type)) return fail(Errc::unsupported, "send the body as \"Content-Type: application/json\"");
  json::error_code error;
  json::parse_options limits;
  limits.max_depth = 4;
  json::value body = json::parse(request.body, error, {}, limits);
  if (error) return invalid("body: not valid JSON (" + error.message() + ")");
  if (!body.is_object()) return invalid("body: must be a JSON object");
  return std::move(body.get_object());
}

}  // namespace

Result<ReadLog> parse_read_log(const Target& target) {
  ReadLog out;
  out.volume = target.segments[2];
  out.consumer = target.parameter("consumer").value_or("");
  if (const auto from = target.parameter("from")) {
    const auto lsn = number_of("from", *from, ~std::uint64_t{0} >> 1);
    if (!lsn) return fail(lsn.error());
    if (*lsn == 0) return invalid("from: the first record has LSN 1");
    out.from = Lsn(*lsn);
  }
  if (out.consumer.empty() == (out.from == Lsn())) return invalid("from: give either a consumer or an LSN to read from");
  if (const auto limit = target.parameter("limit")) {
    const auto count = number_of("limit", *limit, kEntriesMax);
    if (!count) return fail(count.error());
    out.limits.entries_max = std::max<std::uint64_t>(*count, 1);
  }
  if (const auto wait = target.parameter("wait_ms")) {
    const auto ms = number_of("wait_ms", *wait, kWaitMsMax);
    if (!ms) return fail(ms.error());
    out.limits.wait_ms = static_cast<std::int64_t>(*ms);
  }
  const std::string payload = target.parameter("payload").value_or("omit");
  if (payload != "omit" && payload != "base64") return invalid("payload: \"" + printable(payload) + "\" is neither omit nor base64");
  out.limits.payload = payload == "omit" ? LogReadLimits::Payload::omitted : LogReadLimits::Payload::included;
  return out;
}

Result<CreateConsumer> parse_create_consumer(const Request& request) {
  const auto body = body_of(request);
  if (!body) return fail(body.error());
  CreateConsumer out;
  for (const auto& field : *body) {
    if (!field.value().is_string()) return invalid(printable(field.key()) + ": must be a string");
    const std::string_view text = field.value().get_string();
    if (field.key() == "name") out.name = text;
    else if (field.key() == "from" && (text == "oldest" || text == "now")) out.start = text == "now" ? ConsumerStart::now : ConsumerStart::oldest;
    else return invalid(printable(field.key()) + ": known here are name, and from with \"oldest\" or \"now\"");
  }
  if (out.name.empty()) return invalid("name: is missing");
  return out;
}

Result<ConfirmConsumer> parse_confirm_consumer(const Request& request) {
  const auto body = body_of(request);
  if (!body) return fail(body.error());
  ConfirmConsumer out;
  for (const auto& field : *body) {
    if (field.key() == "confirmed") {
      json::error_code error;
      const auto lsn = field.value().to_number<std::uint64_t>(error);
      if (error) return invalid("confirmed: must be the LSN of a record");
      out.lsn = Lsn(lsn);
    } else if (field.key() == "durably" && field.value().is_bool()) {
      out.when = field.value().get_bool() ? Confirm::durably : Confirm::soon;
    } else {
      return invalid(printable(field.key()) + ": known here are confirmed, and durably with true or false");
    }
  }
  if (!body->contains("confirmed")) return invalid("confirmed: is missing");
  return out;
}

Response log_response(const LogBatch& batch) {
  json::array entries;
  for (const LogEntry& entry : batch.entries) entries.push_back(entry_document(entry));
  json::object out{{"records", std::move(entries)}, {"next", batch.next.value}, {"committed", batch.commit.value}};
  if (batch.gap) out["gap"] = gap_document(*batch.gap);
  return document(200, out);
}

Response consumers_response(const std::vector<ConsumerStatus>& consumers) {
  json::array all;
  for (const ConsumerStatus& consumer : consumers) all.push_back(consumer_document(consumer));
  return document(200, json::object{{"consumers", std::move(all)}});
}

Response consumer_created_response(const ConsumerStatus& consumer) { return document(201, consumer_document(consumer)); }

}  // namespace holdfast::admin
