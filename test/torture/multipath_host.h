// A host with several paths to one volume, which behaves as Linux does (scsi_dh_alua, dm-multipath, iscsid) with the settings
// that docs recommend: queue without a path, reconnect at once, NOPs of one second. It runs on a thread of its own.
//
// One path is in use. When it fails (its connection is lost, or it answers 02/04/0B), another one is asked for the states of
// all (RTPG) and is used if it says that it is active. A failed path is looked at once a second (TUR).
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "test/torture/net_namespace.h"
#include "test/torture/session.h"

namespace holdfast::torture {

struct HostTiming {
  DurationNs nop_interval = milliseconds(1'000);       // node.conn[0].timeo.noop_out_interval
  DurationNs nop_timeout = milliseconds(1'000);        // noop_out_timeout
  DurationNs login_timeout = milliseconds(2'000);
  DurationNs refused_delay = milliseconds(3'000);      // iscsid, after a connect that was refused.
  DurationNs checker_interval = milliseconds(1'000);   // polling_interval of multipathd.
  DurationNs command_timeout = milliseconds(30'000);   // The kernel's; then the connection is dropped.
  DurationNs busy_delay = milliseconds(20);
};

struct MultipathOptions {
  std::string initiator = "iqn.2026-11.io.holdfast.torture:host";
  std::string target;
  std::vector<std::string> addresses;                  // Of the portals, one a path.
  std::uint16_t port = 3260;
  const NetNamespace* where = nullptr;
  HostTiming timing;
};

// A status that no target sends: the host was told to give up.
inline constexpr std::uint8_t kGivenUp = 0xfe;

struct PathStatus {
  bool up = false, in_use = false;
  std::uint64_t logins = 0, losses = 0;
  std::string last_loss;
};

class MultipathHost {
 public:
  explicit MultipathHost(MultipathOptions options);
  ~MultipathHost();
  MultipathHost(const MultipathHost&) = delete;

  // From any thread but its own: returns with the answer. Without a path it waits.
  ScsiAnswer execute(const ScsiRequest& request);
  // Over this path, in use or not, once: nullopt when it is not up or is lost meanwhile. For looks at states.
  std::optional<ScsiAnswer> execute_on(std::size_t path, const ScsiRequest& request);
  // Everybody who waits, now or later, is told so.
  void give_up();

  std::vector<PathStatus> paths() const;
  std::optional<std::size_t> path_in_use() const;
  std::uint64_t changes() const { return changes_; }   // Of the path in use.
  // What happened, with times, for the story of a failure.
  std::string story() const;

 private:
  struct Call {
    const ScsiRequest* request;
    std::optional<std::size_t> only;                   // A path; else whichever.
    std::optional<ScsiAnswer> answer;
    bool lost = false;
    BootNs not_before{};
  };
  struct Path final : SessionOwner {
    Path(MultipathHost& h, std::size_t n, SessionOptions options) : host(h), number(n), session(std::move(options), *this) {}
    void session_up() override { host.path_up(*this); }
    void session_down(const std::string& why) override { host.path_down(*this, why); }
    void command_answered(SessionTag tag, ScsiAnswer answer) override { host.answered(*this, tag, std::move(answer)); }

    MultipathHost& host;
    std::size_t number;
    Session session;
    bool failed = false;                               // As multipath marks it; taken back by the checker.
    bool asked = false;                                // For its states, since the path in use was lost, and is not active.
    BootNs connect_at{}, checked_at{}, pinged_at{};
    std::optional<SessionTag> check, probe;            // TUR, RTPG
    std::map<SessionTag, Call*> calls;
    PathStatus status;
  };

  void serve();
  void turn();
  void turn_path(Path& path);
  void path_up(Path& path);
  void path_down(Path& path, const std::string& why);
  void answered(Path& path, SessionTag tag, ScsiAnswer answer);
  void take_probe(Path& path, const ScsiAnswer& answer);
  void take_check(Path& path, const ScsiAnswer& answer);
  void fail_path(Path& path, const std::string& why);
  void choose();
  void send_waiting();
  void finish(Call& call, ScsiAnswer answer);
  void tell(const std::string& what);
  void wake();

  MultipathOptions options_;
  io::UniqueFd wake_;
  std::vector<std::unique_ptr<Path>> paths_;           // The thread's, like all that follows up to the mutex.
  std::optional<std::size_t> in_use_;
  std::optional<std::size_t> hinted_;                  // Port group that an RTPG told to be active.
  mutable std::mutex mutex_;                           // Guards what follows, and each path's status.
  std::condition_variable answered_;
  std::deque<Call*> waiting_;
  bool given_up_ = false;
  std::optional<std::size_t> told_in_use_;
  std::vector<std::string> story_;
  std::atomic<std::uint64_t> changes_{0};
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

// Requests.
ScsiRequest test_unit_ready();
ScsiRequest report_target_port_groups();
ScsiRequest read_blocks(BlockRange range);
ScsiRequest write_blocks(BlockRange range, std::span<const std::byte> data);
ScsiRequest unmap_blocks(std::span<const std::byte> list);
std::vector<std::byte> unmap_list(BlockRange range);
ScsiRequest read_capacity();

struct PortGroupReport {
  std::uint16_t group = 0;
  std::uint8_t state = 0;  // 0 active/optimized, 2 standby, 3 unavailable
};
std::vector<PortGroupReport> port_groups_in(const ScsiAnswer& answer);

}  // namespace holdfast::torture
