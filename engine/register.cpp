#include "engine/register.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/text.h"

namespace holdfast::engine {
namespace {

constexpr std::string_view kFirstLine = "holdfast-register 1";
constexpr std::string_view kLastLine = "end";
constexpr std::string_view kFirstWord = "holdfast-register ";

std::string hex(const Uuid& id) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const std::uint8_t byte : id) {
    out.push_back(digits[byte >> 4]);
    out.push_back(digits[byte & 15]);
  }
  return out;
}

std::optional<Uuid> unhex(std::string_view text) {
  Uuid id;
  if (text.size() != 2 * id.size()) return std::nullopt;
  for (std::size_t i = 0; i < id.size(); ++i) {
    const auto [end, error] = std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, id[i], 16);
    if (error != std::errc{} || end != text.data() + 2 * i + 2) return std::nullopt;
  }
  return id;
}

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view take_word(std::string_view& line) {
  const std::size_t space = line.find(' ');
  const std::string_view word = line.substr(0, space);
  line.remove_prefix(space == line.npos ? line.size() : space + 1);
  return word;
}

template <class T>
bool read_into(std::string_view text, T& out) {
  const auto value = number<T>(text);
  if (value) out = *value;
  return value.has_value();
}
template <class Tag>
bool read_into(std::string_view text, Unit<Tag>& out) { return read_into(text, out.value); }
bool read_into(std::string_view text, Uuid& out) {
  const auto id = unhex(text);
  if (id) out = *id;
  return id.has_value();
}

template <class T>
bool ascending(const std::vector<T>& items, auto&& node_of) {
  return std::adjacent_find(items.begin(), items.end(),
                            [&](const T& a, const T& b) { return node_of(a) >= node_of(b); }) == items.end();
}

bool read_line(std::string_view key, std::string_view rest, Register& r) {
  if (key == "group") return read_into(rest, r.group);
  if (key == "seq") return read_into(rest, r.seq);
  if (key == "epoch") return read_into(rest, r.epoch);
  if (key == "primary") return read_into(rest, r.primary);
  if (key == "claim") return read_into(rest, r.claim);
  if (key == "min_in_sync") return read_into(rest, r.min_in_sync);
  if (key == "lease_ms") return read_into(rest, r.lease_ms);
  if (key == "previous_lease_ms") return read_into(rest, r.previous_lease_ms);
  if (key == "floor_epoch") return read_into(rest, r.floor_epoch);
  if (key == "floor_commit") return read_into(rest, r.floor_commit);
  if (key == "floor_content_epoch") return read_into(rest, r.floor_content_epoch);
  if (key == "floor_content_end") return read_into(rest, r.floor_content_end);
  if (key == "forced_epoch") return read_into(rest, r.forced_epoch);
  if (key == "member") {
    r.members.emplace_back();
    return read_into(rest, r.members.back());
  }
  if (key != "in_sync") return false;
  r.in_sync.emplace_back();
  return read_into(take_word(rest), r.in_sync.back().node) && read_into(rest, r.in_sync.back().incarnation);
}

Result<void> check(const Register& r) {
  const auto node_of_copy = [](const Copy& c) { return c.node; };
  const auto itself = [](NodeId n) { return n; };
  if (r.seq == 0) return fail(Errc::corrupt, "the register has no seq");
  if (r.members.empty() || r.members.size() > kMembersMax) return fail(Errc::corrupt, "the register has no members, or too many");
  if (!ascending(r.members, itself) || !ascending(r.in_sync, node_of_copy))
    return fail(Errc::corrupt, "the register's members are not in order");
  if (r.in_sync.empty()) return fail(Errc::corrupt, "the register has nobody in sync");
  for (const std::uint32_t ms : {r.lease_ms, r.previous_lease_ms})
    if (ms == 0 || ms > kLeaseMsMax) return fail(Errc::corrupt, concat("the register's lease of ", ms, " ms is impossible"));
  if (r.min_in_sync == 0 || r.min_in_sync > kMembersMax) return fail(Errc::corrupt, "the register's min_in_sync is impossible");
  return {};
}

}  // namespace

const Copy* Register::find_in_sync(NodeId node) const {
  const auto found = std::find_if(in_sync.begin(), in_sync.end(), [&](const Copy& c) { return c.node == node; });
  return found == in_sync.end() ? nullptr : &*found;
}

bool Register::has_in_sync(const Copy& copy) const {
  const Copy* found = find_in_sync(copy.node);
  return found && *found == copy;
}

void Register::add_in_sync(Copy copy) {
  remove_in_sync(copy.node);
  in_sync.insert(std::find_if(in_sync.begin(), in_sync.end(), [&](const Copy& c) { return c.node > copy.node; }), copy);
}

void Register::remove_in_sync(NodeId node) {
  std::erase_if(in_sync, [&](const Copy& c) { return c.node == node; });
}

bool Register::is_member(NodeId node) const { return std::find(members.begin(), members.end(), node) != members.end(); }

Register first_register(const Uuid& group, const std::vector<Copy>& copies, FirstRegister options) {
  Register value;
  value.group = group;
  value.seq = 1;
  value.min_in_sync = options.min_in_sync;
  value.lease_ms = value.previous_lease_ms = options.lease_ms;
  for (const Copy& copy : copies) {
    value.members.push_back(copy.node);
    value.add_in_sync(copy);
  }
  std::sort(value.members.begin(), value.members.end());
  return value;
}

std::string register_key(const Uuid& group) { return concat("group-", hex(group)); }

std::string encode_register(const Register& r) {
  std::string out = concat(kFirstLine, "\ngroup ", hex(r.group), "\nseq ", r.seq, "\nepoch ", r.epoch.value, "\nprimary ",
                           r.primary.value, "\nclaim ", r.claim, "\n");
  for (const Copy& copy : r.in_sync) out += concat("in_sync ", copy.node.value, " ", hex(copy.incarnation), "\n");
  for (const NodeId node : r.members) out += concat("member ", node.value, "\n");
  out += concat("min_in_sync ", r.min_in_sync, "\nlease_ms ", r.lease_ms, "\nprevious_lease_ms ", r.previous_lease_ms,
                "\nfloor_epoch ", r.floor_epoch.value, "\nfloor_commit ", r.floor_commit.value, "\nfloor_content_epoch ",
                r.floor_content_epoch.value, "\nfloor_content_end ", r.floor_content_end.value, "\nforced_epoch ", r.forced_epoch.value, "\n", kLastLine, "\n");
  return out;
}

Result<Register> decode_register(std::string_view text) {
  if (text.size() > kRegisterBytesMax) return fail(Errc::corrupt, "the register is too long");
  Register r;
  r.lease_ms = r.previous_lease_ms = r.min_in_sync = 0;
  std::vector<std::string_view> seen;
  bool ended = false;
  for (std::size_t line_number = 1; !text.empty(); ++line_number) {
    const std::size_t newline = text.find('\n');
    if (newline == text.npos) return fail(Errc::corrupt, concat("line ", line_number, " of the register is cut off"));
    std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline + 1);
    if (line_number == 1) {
      if (line == kFirstLine) continue;
      if (line.starts_with(kFirstWord))
        return fail(Errc::version_too_new, "the register was written by a newer holdfast: use that one");
      return fail(Errc::foreign, "there is no holdfast register under this key");
    }
    if (line == kLastLine && text.empty()) {
      ended = true;
      break;
    }
    const std::string_view key = take_word(line);
    const bool repeated = key != "member" && key != "in_sync" && std::find(seen.begin(), seen.end(), key) != seen.end();
    if (repeated || !read_line(key, line, r)) return fail(Errc::corrupt, concat("line ", line_number, " of the register makes no sense"));
    seen.push_back(key);
  }
  if (!ended) return fail(Errc::corrupt, "the register is cut off");
  TRY(check(r));
  return r;
}

}  // namespace holdfast::engine
