#include "test/torture/multipath_host.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <tuple>

#include "test/sim/text.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"

namespace holdfast::torture {
namespace {

constexpr std::uint8_t kCheckCondition = 0x02, kBusy = 0x08, kTaskSetFull = 0x28;
constexpr std::uint8_t kNotReady = 0x02, kUnitAttention = 0x06, kAbortedCommand = 0x0b;
constexpr std::uint16_t kStandby = 0x040b, kUnavailable = 0x040c, kTransitioning = 0x040a;
constexpr std::uint8_t kActiveOptimized = 0;
constexpr std::size_t kStoryMax = 2'000;

bool is_ghost(const ScsiAnswer& answer) {
  return answer.status == kCheckCondition && answer.key == kNotReady && (answer.asc == kStandby || answer.asc == kUnavailable);
}
bool is_to_be_retried(const ScsiAnswer& answer) {
  if (answer.status == kBusy || answer.status == kTaskSetFull) return true;
  return answer.status == kCheckCondition &&
         (answer.key == kUnitAttention || answer.key == kAbortedCommand || (answer.key == kNotReady && answer.asc == kTransitioning));
}

}  // namespace

MultipathHost::MultipathHost(MultipathOptions options) : options_(std::move(options)), wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  for (std::size_t i = 0; i < options_.addresses.size(); ++i)
    paths_.push_back(std::make_unique<Path>(
        *this, i, SessionOptions{options_.initiator, options_.target, options_.addresses[i], options_.port, static_cast<std::uint8_t>(i + 1)}));
  thread_ = std::thread([this] { serve(); });
}

MultipathHost::~MultipathHost() {
  give_up();
  ending_ = true;
  wake();
  thread_.join();
}

void MultipathHost::wake() {
  const std::uint64_t one = 1;
  std::ignore = ::write(wake_.get(), &one, sizeof one);
}

ScsiAnswer MultipathHost::execute(const ScsiRequest& request) {
  Call call{&request, {}, {}, false, {}};
  std::unique_lock lock(mutex_);
  if (!given_up_) {
    waiting_.push_back(&call);
    wake();
    answered_.wait(lock, [&] { return call.answer.has_value(); });
    return std::move(*call.answer);
  }
  ScsiAnswer none;
  none.status = kGivenUp;
  return none;
}

std::optional<ScsiAnswer> MultipathHost::execute_on(std::size_t path, const ScsiRequest& request) {
  Call call{&request, path, {}, false, {}};
  std::unique_lock lock(mutex_);
  if (given_up_) return std::nullopt;
  waiting_.push_back(&call);
  wake();
  answered_.wait(lock, [&] { return call.answer.has_value(); });
  if (call.lost || call.answer->status == kGivenUp) return std::nullopt;
  return std::move(call.answer);
}

void MultipathHost::give_up() {
  const std::lock_guard lock(mutex_);
  given_up_ = true;
  wake();
}

std::vector<PathStatus> MultipathHost::paths() const {
  const std::lock_guard lock(mutex_);
  std::vector<PathStatus> out;
  for (const auto& path : paths_) out.push_back(path->status);
  return out;
}

std::optional<std::size_t> MultipathHost::path_in_use() const {
  const std::lock_guard lock(mutex_);
  return told_in_use_;
}

std::string MultipathHost::story() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const std::string& line : story_) out += line + "\n";
  return out;
}

void MultipathHost::tell(const std::string& what) {
  const std::lock_guard lock(mutex_);
  if (story_.size() < kStoryMax) story_.push_back(sim::format("{} ms: {}", now().value / 1'000'000, what));
}

void MultipathHost::finish(Call& call, ScsiAnswer answer) {
  const std::lock_guard lock(mutex_);
  call.answer = std::move(answer);
  answered_.notify_all();
}

void MultipathHost::serve() {
  if (options_.where) options_.where->enter();
  std::vector<pollfd> polled;
  while (!ending_) {
    turn();
    polled.assign(1, pollfd{wake_.get(), POLLIN, 0});
    for (const auto& path : paths_) polled.push_back({path->session.fd(), path->session.wanted_events(), 0});
    ::poll(polled.data(), polled.size(), 10);
    std::uint64_t count = 0;
    std::ignore = ::read(wake_.get(), &count, sizeof count);
    for (std::size_t i = 0; i < paths_.size(); ++i)
      if (polled[i + 1].revents != 0 && paths_[i]->session.fd() == polled[i + 1].fd) paths_[i]->session.handle_events(polled[i + 1].revents);
  }
  for (const auto& path : paths_) path->session.close("the host ends");
  turn();
}

void MultipathHost::turn() {
  for (const auto& path : paths_) turn_path(*path);
  choose();
  send_waiting();
}

void MultipathHost::turn_path(Path& path) {
  const HostTiming& timing = options_.timing;
  Session& session = path.session;
  const BootNs t = now();
  switch (session.state()) {
    case Session::State::closed:
      if (!ending_ && t >= path.connect_at) session.connect();
      return;
    case Session::State::connecting:
    case Session::State::logging_in:
      if (t >= session.began() + timing.login_timeout) session.close("the login took too long");
      return;
    case Session::State::up: break;
  }
  const BootNs heard = std::max(session.last_word(), session.began());
  if (t >= heard + timing.nop_interval && path.pinged_at < heard) {
    path.pinged_at = t;
    session.ping();
  } else if (path.pinged_at >= heard && t >= path.pinged_at + timing.nop_timeout) {
    return session.close("no answer to a NOP");
  }
  if (session.state() == Session::State::up && session.commands_under_way() > 0 && t >= session.oldest_command() + timing.command_timeout)
    return session.close("a command took too long");
  if (session.state() == Session::State::up && path.failed && !path.check && t >= path.checked_at + timing.checker_interval) {
    path.checked_at = t;
    path.check = session.send(test_unit_ready());
  }
}

void MultipathHost::path_up(Path& path) {
  {
    const std::lock_guard lock(mutex_);
    path.status.up = true;
    ++path.status.logins;
  }
  path.pinged_at = {};
  tell(sim::format("path {} is up", path.number));
}

void MultipathHost::path_down(Path& path, const std::string& why) {
  const bool was_up = path.status.up;
  {
    const std::lock_guard lock(mutex_);
    path.status.up = false;
    ++path.status.losses;
    path.status.last_loss = why;
  }
  tell(sim::format("path {} is down: {}", path.number, why));
  path.connect_at = now() + (was_up || why.starts_with("the login took") ? DurationNs{} : options_.timing.refused_delay);
  path.check.reset();
  path.probe.reset();
  fail_path(path, "down");
  // What was under way goes again, over whichever path; who asked for this one is told.
  const auto calls = std::exchange(path.calls, {});
  for (const auto& [tag, call] : calls) {
    if (call->only) {
      call->lost = true;
      finish(*call, {});
      continue;
    }
    const std::lock_guard lock(mutex_);
    waiting_.push_back(call);
  }
}

void MultipathHost::fail_path(Path& path, const std::string& why) {
  path.failed = true;
  path.checked_at = now();
  if (in_use_ != path.number) return;
  tell(sim::format("path {} is not used any more: {}", path.number, why));
  in_use_.reset();
  for (const auto& other : paths_) other->asked = false;
  const std::lock_guard lock(mutex_);
  path.status.in_use = false;
  told_in_use_.reset();
}

void MultipathHost::choose() {
  if (in_use_) return;
  Path* next = nullptr;
  for (const auto& path : paths_) {
    if (path->probe) return;  // One is being asked.
    if (path->session.state() != Session::State::up || path->failed || path->asked) continue;
    if (!next || (hinted_ && path->session.port_group() == *hinted_)) next = path.get();
  }
  if (!next) return;
  next->asked = true;
  next->probe = next->session.send(report_target_port_groups());
}

void MultipathHost::take_probe(Path& path, const ScsiAnswer& answer) {
  if (is_to_be_retried(answer)) {
    path.asked = false;
    return;
  }
  std::uint8_t state = 0xff;
  hinted_.reset();
  for (const PortGroupReport& group : port_groups_in(answer)) {
    if (group.group == path.session.port_group()) state = group.state;
    if (group.state == kActiveOptimized) hinted_ = group.group;
  }
  if (state != kActiveOptimized) {
    tell(sim::format("path {} is not active ({})", path.number, answer.good() ? std::to_string(state) : answer.text()));
    // The next look is the checker's.
    if (std::none_of(paths_.begin(), paths_.end(), [](const auto& p) { return p->session.state() == Session::State::up && !p->failed && !p->asked; }))
      for (const auto& other : paths_)
        if (other->session.state() == Session::State::up && !other->failed) fail_path(*other, "nobody is active");
    return;
  }
  in_use_ = path.number;
  ++changes_;
  tell(sim::format("path {} is used", path.number));
  const std::lock_guard lock(mutex_);
  path.status.in_use = true;
  told_in_use_ = path.number;
}

// A ghost is not reinstated while no path is active. A unit attention says nothing: the checker asks again at once.
void MultipathHost::take_check(Path& path, const ScsiAnswer& answer) {
  if (is_to_be_retried(answer)) path.checked_at = {};
  if (!answer.good() && !(is_ghost(answer) && in_use_)) return;
  path.failed = false;
  path.asked = false;
}

void MultipathHost::answered(Path& path, SessionTag tag, ScsiAnswer answer) {
  if (path.check == tag) {
    path.check.reset();
    return take_check(path, answer);
  }
  if (path.probe == tag) {
    path.probe.reset();
    return take_probe(path, answer);
  }
  const auto found = path.calls.find(tag);
  if (found == path.calls.end()) return;
  Call& call = *found->second;
  path.calls.erase(found);
  if (call.only) return finish(call, std::move(answer));
  if (is_ghost(answer)) fail_path(path, answer.text());
  if (is_ghost(answer) || is_to_be_retried(answer)) {
    if (answer.status != kCheckCondition || answer.asc == kTransitioning) call.not_before = now() + options_.timing.busy_delay;
    const std::lock_guard lock(mutex_);
    waiting_.push_front(&call);
    return;
  }
  finish(call, std::move(answer));
}

void MultipathHost::send_waiting() {
  std::deque<Call*> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(waiting_);
    if (given_up_) {
      for (Call* call : taken) call->answer.emplace().status = kGivenUp;
      for (const auto& path : paths_) {
        for (const auto& [tag, call] : path->calls) call->answer.emplace().status = kGivenUp;
        path->calls.clear();
      }
      answered_.notify_all();
      return;
    }
  }
  for (Call* call : taken) {
    const std::optional<std::size_t> number = call->only ? call->only : in_use_;
    Path* path = number ? paths_[*number].get() : nullptr;
    const bool up = path && path->session.state() == Session::State::up;
    if (up && now() >= call->not_before) {
      // A connection that breaks right here brings everything of this path back.
      const SessionTag tag = path->session.send(*call->request);
      if (path->session.state() == Session::State::up) {
        path->calls[tag] = call;
        continue;
      }
    }
    if (call->only) {
      call->lost = true;
      finish(*call, {});
      continue;
    }
    const std::lock_guard lock(mutex_);
    waiting_.push_back(call);
  }
}

ScsiRequest test_unit_ready() { return {}; }

ScsiRequest report_target_port_groups() {
  ScsiRequest request;
  request.in_bytes = 4096;
  request.cdb[0] = std::byte{0xa3};
  request.cdb[1] = std::byte{0x0a};
  store_be<std::uint32_t>(&request.cdb[6], request.in_bytes);
  return request;
}

namespace {

ScsiRequest blocks_request(unsigned opcode, BlockRange range) {
  ScsiRequest request;
  request.cdb[0] = std::byte(opcode);
  store_be<std::uint64_t>(&request.cdb[2], range.first.value);
  store_be<std::uint32_t>(&request.cdb[10], static_cast<std::uint32_t>(range.count.value));
  return request;
}

}  // namespace

ScsiRequest read_blocks(BlockRange range) {
  ScsiRequest request = blocks_request(0x88, range);
  request.in_bytes = static_cast<std::uint32_t>(range.count.value * kBlockBytes);
  return request;
}

ScsiRequest write_blocks(BlockRange range, std::span<const std::byte> data) {
  ScsiRequest request = blocks_request(0x8a, range);
  request.out = data;
  return request;
}

std::vector<std::byte> unmap_list(BlockRange range) {
  std::vector<std::byte> list(24);
  store_be<std::uint16_t>(&list[0], 22);
  store_be<std::uint16_t>(&list[2], 16);
  store_be<std::uint64_t>(&list[8], range.first.value);
  store_be<std::uint32_t>(&list[16], static_cast<std::uint32_t>(range.count.value));
  return list;
}

ScsiRequest unmap_blocks(std::span<const std::byte> list) {
  ScsiRequest request;
  request.cdb[0] = std::byte{0x42};
  store_be<std::uint16_t>(&request.cdb[7], static_cast<std::uint16_t>(list.size()));
  request.out = list;
  return request;
}

ScsiRequest read_capacity() {
  ScsiRequest request;
  request.in_bytes = 32;
  request.cdb[0] = std::byte{0x9e};
  request.cdb[1] = std::byte{0x10};
  store_be<std::uint32_t>(&request.cdb[10], request.in_bytes);
  return request;
}

std::vector<PortGroupReport> port_groups_in(const ScsiAnswer& answer) {
  std::vector<PortGroupReport> out;
  if (!answer.good() || answer.data.size() < 4) return out;
  const std::size_t end = std::min<std::size_t>(answer.data.size(), 4 + load_be<std::uint32_t>(&answer.data[0]));
  for (std::size_t at = 4; at + 8 <= end;) {
    out.push_back({load_be<std::uint16_t>(&answer.data[at + 2]), static_cast<std::uint8_t>(std::to_integer<unsigned>(answer.data[at]) & 0x0f)});
    at += 8 + 4 * std::to_integer<std::size_t>(answer.data[at + 7]);
  }
  return out;
}

}  // namespace holdfast::torture
