#include "io/fault_disk.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

namespace holdfast::io {
namespace {

constexpr std::array<std::pair<std::string_view, DiskOp>, 6> kOps{{{"read", DiskOp::read}, {"write", DiskOp::write},
    {"sync", DiskOp::sync}, {"allocate", DiskOp::allocate}, {"punch", DiskOp::punch}, {"grow", DiskOp::grow}}};
constexpr std::array<std::pair<std::string_view, int>, 4> kErrors{{{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"none", 0}}};

Result<std::uint64_t> parse_number(std::string_view word, std::string_view value) {
  if (value == "forever") return std::numeric_limits<std::uint64_t>::max();
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || value.empty())
    return fail(Errc::invalid_argument, "fault rule: \"" + std::string(word) + "\" needs a number");
  return number;
}

template <class Table, class T>
Result<void> parse_name(std::string_view word, std::string_view value, const Table& table, T& out) {
  for (const auto& [name, meaning] : table) {
    if (name != value) continue;
    out = meaning;
    return {};
  }
  return fail(Errc::invalid_argument, "fault rule: \"" + std::string(word) + "\" is unknown");
}

Result<void> parse_word(std::string_view word, FaultRule& rule) {
  const auto equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : word.substr(equals + 1);
  if (key == "op") return parse_name(word, value, kOps, rule.op);
  if (key == "error") return parse_name(word, value, kErrors, rule.error);
  constexpr std::array<std::pair<std::string_view, bool>, 2> kAnswers{{{"yes", true}, {"no", false}}};
  if (key == "effect") return parse_name(word, value, kAnswers, rule.takes_effect);
  if (key == "flip") return parse_name(word, value, kAnswers, rule.flips);
  const auto number = parse_number(word, value);
  if (!number) return fail(number.error());
  if (key == "skip") rule.skip = *number;
  else if (key == "count") rule.count = *number;
  else if (key == "from") rule.first_byte = *number;
  else if (key == "to") rule.end_byte = *number;
  else if (key == "delay_us" && *number < 1'000'000'000) rule.delay = microseconds(static_cast<std::int64_t>(*number));
  else return fail(Errc::invalid_argument, "fault rule: \"" + std::string(word) + "\" is unknown or out of range");
  return {};
}

}  // namespace

Result<std::vector<FaultRule>> parse_fault_rules(std::string_view text) {
  std::vector<FaultRule> rules;
  while (!text.empty()) {
    const auto end = text.find(';');
    std::string_view one = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    FaultRule rule;
    bool empty = true;
    while (!one.empty()) {
      const auto space = one.find(' ');
      const std::string_view word = one.substr(0, space);
      one = space == std::string_view::npos ? std::string_view() : one.substr(space + 1);
      if (word.empty()) continue;
      empty = false;
      TRY(parse_word(word, rule));
    }
    if (!empty) rules.push_back(rule);
  }
  return rules;
}

FaultDisk::FaultDisk(Clock& clock, std::unique_ptr<Disk> inner)
    : Disk(inner->executor()), clock_(&clock), delayed_(inner->executor()), inner_(std::move(inner)) {}

FaultRule* FaultDisk::matching(const DiskRequest& request) {
  for (FaultRule& rule : rules_) {
    if (rule.op != request.op || rule.count == 0) continue;
    const bool ranged = request.op != DiskOp::sync && request.op != DiskOp::grow;
    if (ranged && (request.offset >= rule.end_byte || request.offset + request.length <= rule.first_byte)) continue;
    if (rule.skip > 0) {
      --rule.skip;
      continue;
    }
    if (rule.count != std::numeric_limits<std::uint64_t>::max()) --rule.count;
    return &rule;
  }
  return nullptr;
}

void FaultDisk::submit(DiskRequest& request) {
  FaultRule* rule = matching(request);
  if (!rule) return inner_->submit(request);
  ++hits_;
  if (rule->delay.value > 0) return delayed_.spawn(delay(this, &request, *rule));
  if (rule->flips && request.op == DiskOp::read) return delayed_.spawn(flip(this, &request));
  if (rule->error == 0) return inner_->submit(request);
  if (rule->takes_effect) return delayed_.spawn(spoil(this, &request, *rule));
  request.error = rule->error;
  executor().post(request.waiter);
}

Task<void> FaultDisk::delay(FaultDisk* disk, DiskRequest* request, FaultRule rule) {
  Timer timer(*disk->clock_);
  co_await timer.after(rule.delay);
  if (rule.error == 0) {
    disk->inner_->submit(*request);
  } else if (rule.takes_effect) {
    co_await spoil(disk, request, rule);
  } else {
    request->error = rule.error;
    disk->executor().post(request->waiter);
  }
}

Task<void> FaultDisk::spoil(FaultDisk* disk, DiskRequest* request, FaultRule rule) {
  Awaiter carried_out(disk->inner_.get(), request->op, request->offset, request->length, request->segments,
                      request->durability);
  const Result<void> ignored = co_await carried_out;
  (void)ignored;
  request->error = rule.error;
  disk->executor().post(request->waiter);
}

Task<void> FaultDisk::flip(FaultDisk* disk, DiskRequest* request) {
  Awaiter carried_out(disk->inner_.get(), request->op, request->offset, request->length, request->segments, request->durability);
  const Result<void> done = co_await carried_out;
  if (done) *static_cast<unsigned char*>(request->segments.front().iov_base) ^= 1;
  request->error = done ? 0 : EIO;
  disk->executor().post(request->waiter);
}

}  // namespace holdfast::io
