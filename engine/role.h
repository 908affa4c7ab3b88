// Who leads: the decisions of one replica of a group, without any I/O (docs/replication.md; numbers in comments are its rules).
// Events in, actions out; the owner carries actions out in order and reports what became of them. The time is an argument.
// Invariants:
//   - at most one CAS is pending, and what it may have done is assumed on both sides until a newer revision is seen (4);
//   - a follower promises only to the primary of its durably bound epoch, and not while a claim of its own is pending (5, 6);
//   - the obligation set O never loses a member before the register is known to have lost it (17).
#pragma once

#include <optional>
#include <vector>

#include "base/planted.h"
#include "base/random.h"
#include "engine/role_messages.h"
#include "engine/timing.h"

namespace holdfast::engine {

enum class Role : std::uint8_t {
  follower,
  claiming,  // My claim is on its way to the register.
  binding,   // It was applied, and is being bound.
  primary,
};

// The replica's log as it is now; written by the owner, read by the machine at each event.
struct LogFacts {
  wal::EpochHistory history;
  Lsn first_kept; // The oldest record that can still be shipped.
  Lsn end;        // Last record appended.
  Lsn durable;    // Here. A follower's acks and applies stay below it.
  Lsn applied;    // In the map, or on its way there: can no longer be cut.
  bool promotable = true;  // No hole, no rebuild under way (9, 22).
  bool needs_rebuild = false;  // What follows in the primary's log is not enough.
  bool maps_lost = false;      // The same, and all of it is to be compared.
  std::uint64_t ring_blocks = 0;  // That its log has room for.
};

class RoleMachine {
 public:
  static constexpr std::size_t kPeersMax = 16;  // Nodes that may say hello: members, old and new ones.

  struct Start {
    Copy self;
    Uuid group{};
    Timing timing;
    Bound bound;                 // As the superblock has it.
    std::uint64_t seq_seen = 0;  // Of the register, durably: an older one is refused.
    BootNs now;
  };
  RoleMachine(Start start, const LogFacts& log, Random& nonces);

  // ---- Events.
  void tick(BootNs now);
  void connected(BootNs now, NodeId node, SessionId session);
  enum class LinkEnd : std::uint8_t { closed, reset };
  void disconnected(BootNs now, NodeId node, SessionId session, LinkEnd how);
  void received(BootNs now, NodeId node, SessionId session, const Message& message);
  void register_read(BootNs now, std::uint64_t revision, const Register& value);
  void register_unreadable(BootNs now);
  // A hint: look again.
  void register_changed(BootNs now) { read_register(now); }
  enum class SwapResult : std::uint8_t { applied, conflict, unknown };
  // revision, value: what the register held afterwards; not for unknown.
  void swap_done(BootNs now, SwapResult result, std::uint64_t revision, const Register& value);
  void bound_done(BootNs now, Bound bound);
  void cut_done(BootNs now, SessionId session);
  void epoch_begun(BootNs now, Lsn first);
  // Everything up to LogFacts::applied was fetched, and the log starts anew there.
  void rebuilt(BootNs now);
  // LogFacts changed: records were appended or became durable.
  void log_changed(BootNs now);
  // Follower: the primary's commit LSN came with records of this session.
  void told_commit(BootNs now, SessionId session, Lsn commit);
  // The store is out of service: whoever led leads no more, and says so.
  void store_failed(BootNs now);
  // As a follower this copy asks to be taken out of in_sync, until it is. stops: it is about to stop. gives_up: it is about to give
  // up what it has, and takes nothing more; is_counted_on() tells when it may.
  enum class Leaves : std::uint8_t { stops, gives_up };
  void leave(BootNs now, Leaves why);
  // Who wants to give up cannot take a record: the session goes on, for it is needed to get out, and nothing more is acknowledged in it.
  void cannot_take(SessionId session);
  // Primary: what the member still lacks is not in the log any more.
  void fell_behind(NodeId node, SessionId session);
  // Primary: the same, and nobody has it: what is not committed cannot be read here any more.
  void cannot_read_tail(BootNs now, NodeId node, SessionId session);
  // Primary: the member does not have what it should: all of it is to be compared, whatever its log says.
  void distrust(NodeId node);
  // A question how the group stands, asked now: its number. view_told() has the answer as soon as one counts; a copy that leads
  // looks at knows_view() itself.
  std::uint64_t ask_view();
  void initiator_heard(BootNs when) { initiator_heard_ = std::max(initiator_heard_, when); }
  // A session ended without a logout: the initiator is gone, or cut off.
  void initiator_lost(BootNs now) { initiator_lost_ = now; }
  void initiators_attached(std::size_t count) { initiators_ = count; }
  // Planned, in two steps: from prepare on nothing is admitted and the set stays; once everything appended is committed the
  // owner hands over. Either is false when the candidate is not fit. cancel_hand_over() only before hand_over().
  bool prepare_hand_over(NodeId candidate);
  void cancel_hand_over() { handing_over_ = false; }
  bool hand_over(BootNs now, NodeId candidate);

  // Is own_view() how the group stands at this instant? Only a primary that may serve and hands nothing over knows.
  bool knows_view(BootNs now) const {
    return (may_serve(now) || (planted(Bug::view_without_lease) && role_ == Role::primary)) && !handing_over_;
  }
  GroupView own_view() const;
  // The newest answer, when it was given after this question; else nothing.
  const GroupView* view_told(std::uint64_t question) const {
    return question <= view_told_ || (planted(Bug::view_of_older_question) && view_told_ > 0) ? &told_view_ : nullptr;
  }

  std::vector<Action> take_actions() { return std::exchange(actions_, {}); }
  // The same without giving memory away: `into` is emptied first. False when there is nothing to do.
  bool take_actions(std::vector<Action>& into) {
    into.clear();
    into.swap(actions_);
    return !into.empty();
  }

  // ---- What follows from it.
  Role role() const { return role_; }
  Epoch epoch() const { return bound_.epoch; }
  const Bound& bound() const { return bound_; }
  Lsn commit() const { return commit_; }
  bool is_open() const { return role_ == Role::primary && open_; }
  // May a read that has its data be answered, or a committed write be acknowledged (7)?
  bool may_serve(BootNs now) const { return is_open() && holds_lease(now); }
  bool may_acknowledge(BootNs now) const { return may_serve(now) && enough_copies(); }
  bool may_admit(BootNs now) const { return may_acknowledge(now) && !handing_over_; }
  bool holds_lease(BootNs now) const;
  bool enough_copies() const { return view_.in_sync.size() >= view_.min_in_sync; }
  // Primary: records go to this session from the LSN after the returned one on. Nothing: not matched.
  std::optional<Lsn> ship_after(NodeId node, SessionId session) const;
  // Follower: are records of this session and epoch to be appended?
  bool accepts(SessionId session, Epoch epoch) const;
  const std::vector<Copy>& obligations() const { return obligations_; }
  bool is_needed(NodeId node) const;  // Nothing is committed without it.
  const Register& view() const { return view_; }
  std::uint64_t view_revision() const { return view_revision_; }
  bool claim_pending() const { return pending_ && pending_->is_claim && !pending_->abandoned; }
  std::uint64_t live_claim() const { return role_ == Role::primary || role_ == Role::binding ? bound_or_won_claim() : 0; }
  BootNs granted_until() const { return granted_until_; }
  Lsn acked(NodeId node) const;
  Lsn ever_acked(NodeId node) const;  // In any session of this epoch.
  // Primary: the member would be needed, and join, as soon as it has everything.
  bool only_lacks_records(NodeId node, BootNs now) const;
  bool is_in_step(NodeId candidate) const;  // Fit for a hand-over.
  // May the register, or its primary, count on this copy? What is known here of the register may be of any age: no longer only when
  // the primary has said so in this session, after it was told that this copy leaves and is not to join.
  bool is_counted_on() const { return out_in_ == SessionId() || out_in_ != leader_session_; }
  // It waits to be out, and then for a rebuild.
  bool wants_to_give_up() const { return takes_nothing_; }
  using Content = wal::EpochHistory::Content;
  struct Committed {
    Content record;
    Content content;  // Of a log that ends with it: starts of epochs do not count there.
    bool operator==(const Committed&) const = default;
  };
  struct Lacks {
    Copy copy;        // Has it.
    Committed what;
    BootNs noticed;
    bool operator==(const Lacks&) const = default;
  };
  // What was committed, and is not in this copy's log any more: it does not lead before it is here again. The first that is known, or nothing.
  std::optional<Lacks> known_loss() const;
  // The same, when it is sure enough to tell an operator.
  std::optional<Lacks> loss_to_tell() const;
  // Blocks of the smallest log of O, as far as it is known: what is not committed has to fit into each.
  std::uint64_t least_ring_blocks() const;
  // A follower that has heard its primary a moment ago, and claims nothing: whatever becomes of this copy, somebody else has
  // everything. The connection may just be gone, for that is what becomes of it when a record cannot be taken.
  bool hears_primary(BootNs now) const {
    const bool heard = leader_heard_ && now - *leader_heard_ <= milliseconds(start_.timing.replica_timeout_ms);
    return role_ == Role::follower && !pending_ && !binding_to_ && heard;
  }

 private:
  // How long a copy's log has been standing still while there was something to write. Time in which this process did not run
  // does not count.
  struct Progress {
    Lsn durable;
    DurationNs standing{};
    void look(Lsn durable_now, Lsn wanted, DurationNs passed);
  };
  struct Peer {
    NodeId node;
    SessionId session;               // Zero: no connection.
    std::optional<Hello> hello;      // Of this session.
    bool cut_since = false;          // Since that hello I told it where to cut its log.
    BootNs newest_sent{};            // In the peer's clock: what the next beat echoes.
    BootNs heard{};                  // My newest sending that the peer is known to have received.
    BootNs last_word{};              // When I learned of that, however long it had been under way.
    BootNs led{};                    // The same, told by a beat that leads.
    bool leaving = false;            // It stops in order.
    bool was_reset = false;          // The last connection was reset: a hint at a dead process.
    bool coordinator_reached = false;
    // As primary, for this epoch.
    std::optional<BootNs> goes_first_since;  // In this session: its log is longer than mine was at my claim.
    bool match_sent = false;         // In this session.
    bool matched = false;            // It has cut its log accordingly, and said so.
    Lsn acked;                       // In this session; valid when matched.
    bool fit = false;                // The same: its copy may lead.
    std::uint64_t ring_blocks = 0;   // Of its log, when it was last told.
    Lsn ever_acked;                  // In any session, by `promise_of`: less in a hello is a disk that went back in time.
    BootNs promise_until{};          // Of `promise_of`.
    Uuid promise_of{};               // Incarnation.
    BootNs next_beat{};
    std::uint64_t view_question = 0; // In this session, and not answered yet; zero: none.
    bool unreadable_here = false;    // In this session: what it lacks cannot be read here, and is not committed.
    bool rebuild_asked = false;      // Its log and mine share nothing that I can ship on.
    std::optional<Lsn> lagging_at;   // To be told so in this session, once it is owed nothing: what they share.
    Uuid distrusted{};               // Of this incarnation all is to be compared, until it says itself that it knows.
    Progress progress;
  };
  struct Pending {
    bool is_claim;
    std::uint64_t base_revision;
    Register value;
    bool in_flight;
    bool abandoned = false;          // A claim whose nonce is forgotten (5).
    BootNs retry_at{};
    BootNs since{};
  };

  // It wants out, and nobody counts on it any more: it neither takes nor acknowledges anything.
  bool gives_up_now() const { return takes_nothing_ && !is_counted_on(); }
  Peer& peer(NodeId node);
  const Peer* find_peer(NodeId node) const;
  void send(Peer& to, Message message);
  template <class T>
  void ask(T action) { actions_.emplace_back(std::move(action)); }
  Hello my_hello() const;
  Copy self() const { return start_.self; }

  // role.cpp: the register.
  void read_register(BootNs now);
  void see(BootNs now, std::uint64_t revision, const Register& value);
  void resolve_pending(BootNs now);
  void swap(BootNs now, bool is_claim, Register value);
  void retry_pending(BootNs now);
  std::uint64_t bound_or_won_claim() const { return role_ == Role::binding ? won_claim_ : bound_.claim; }

  // role_follower.cpp
  void consider_claim(BootNs now);
  bool has_reason_to_claim(BootNs now) const;
  bool lost_all_others() const;
  bool may_claim(BootNs now) const;
  bool reaches_floor() const;
  bool lets_a_longer_log_go_first(BootNs now);
  bool start_wait_is_over(BootNs now) const;
  bool waits_for_hellos(BootNs now) const;
  void claim(BootNs now);
  void won(BootNs now);
  void readopt(BootNs now);  // A planted bug.
  void bind(Bound target);
  void follow(BootNs now, Peer& leader, const Beat& beat);
  void on_match(Peer& leader, const MatchAt& match);
  void on_lagging(Peer& leader, const Lagging& lagging);
  void send_ack();
  void say_leaving(BootNs now, Peer& leader);
  void abandon_claim();
  void grant(BootNs now, Peer& leader, const Beat& beat);
  void send_signs_of_life(BootNs now);
  bool reaches_coordinator(BootNs now) const;

  // role_view.cpp
  void send_question(Peer& leader);
  void on_ask_view(BootNs now, Peer& from, const AskView& ask);
  void on_tell_view(const Peer& from, const TellView& tell);
  void tell_views(BootNs now);

  // role_losses.cpp
  void notice_loss(BootNs now, const Peer& from);
  void note_holder(BootNs now, const Peer& p);
  bool is_whole(const Peer& from) const;
  Lsn end_before_epoch() const;
  bool is_over(const Committed& what) const;
  bool is_settled(const Lacks& lacks) const;
  bool has_all_i_lack(const Hello& hello) const;
  bool knows_it_lacks() const { return known_loss().has_value(); }

  // role_primary.cpp
  void become_primary(BootNs now);
  void demote(BootNs now);
  void on_hello(BootNs now, Peer& from);
  void asks_for_rebuild(Peer& p, Lsn shared);
  void tell_lagging(Peer& p);
  void on_ack(Peer& from, const Ack& ack);
  void on_promise(Peer& from, const Beat& beat);
  void update_commit();
  void send_beats(BootNs now);
  void beat_to(BootNs now, Peer& to);
  void judge_members(BootNs now);
  bool is_silent(const Peer& member, BootNs now) const;
  void watch_progress(BootNs now);
  bool is_stuck(const Progress& progress) const { return progress.standing > milliseconds(start_.timing.stuck_timeout_ms); }
  void release_if_stuck(BootNs now);
  enum class Stays : bool { no, yes };  // In the in-sync set of who comes next.
  // not_yet: there is somebody, who cannot claim at the moment, or of whom it is not known whether another one has more.
  enum class Released : std::uint8_t { yes, not_yet, to_nobody };
  Released release_to_somebody(BootNs now, Stays stays);
  void release_if_unreadable(BootNs now);
  std::optional<wal::EpochHistory::Content> content_of(const Copy& copy) const;
  bool nobody_has_more_than(const Copy& candidate) const;
  BootNs others_heard() const;
  bool is_anybody_faint(const Register& left, BootNs now) const;
  DurationNs time_for_others() const;
  void consider_initiators(BootNs now);
  bool serves_somebody(BootNs now) const;
  void release_if_helpless(BootNs now);
  void cease_if_cut_off(BootNs now);
  bool waits_for_a_removal() const;
  bool gives_way_to(BootNs now, Peer& from);
  void consider_joins(BootNs now);
  bool ready_to_join(const Peer& learner, BootNs now) const;
  bool fit_to_join(const Peer& learner, BootNs now) const;
  bool owes(const Copy& copy) const;
  Lsn durable_on(const Copy& copy) const;

  Start start_;
  const LogFacts* log_;
  Random* nonces_;
  Role role_ = Role::follower;
  Bound bound_;
  std::optional<Bound> binding_to_;   // Asked for, not done yet.
  std::optional<Bound> bind_next_;    // A newer one came meanwhile.
  std::vector<Peer> peers_;
  std::vector<Action> actions_;

  Register view_;                     // Newest known; valid when view_revision_ > 0.
  std::uint64_t view_revision_ = 0;
  bool read_in_flight_ = false;
  BootNs next_read_{};
  BootNs coordinator_heard_{};
  std::optional<Pending> pending_;
  std::uint64_t won_claim_ = 0;
  std::uint64_t last_claim_ = 0;      // Only a planted bug looks at it.

  // Follower.
  SessionId leader_session_;          // Of the primary of the bound epoch.
  std::optional<BootNs> leader_heard_;  // When it last spoke.
  NodeId leader_;
  bool matched_ = false;              // In leader_session_.
  bool cutting_ = false;
  Lsn acked_;
  bool wants_out_ = false;
  bool takes_nothing_ = false;        // The same, and what it has is about to go. See gives_up_now().
  std::optional<Leaves> told_to_leave_;  // By the owner: that holds for every primary.
  SessionId out_said_in_;             // The session in which it was said that this copy leaves …
  BootNs out_said_{};                 // … and when.
  SessionId out_in_;                  // The session in which the primary knew that, and needed this copy no more.
  std::optional<Lagging> lagging_;    // Came while I was claiming; in leader_session_.
  BootNs granted_until_{};            // My promise not to claim.
  BootNs quiet_since_{};              // Silence of the primary is counted from here at the earliest.
  Epoch released_;                    // Its primary has ceased.
  bool releaser_leaves_ = false;      // And wants to be in the set no more.
  BootNs no_claim_before_{};          // I gave way: others first.
  struct Deferral {
    BootNs since, looked_at;
    DurationNs total;                 // With the coordinator in reach.
    void look(BootNs now, bool reaches_coordinator);
    bool goes_on(BootNs now, DurationNs patience) const;
  };
  std::optional<Deferral> deferral_;  // Others go first.
  std::uint64_t view_asked_ = 0;      // Questions so far …
  std::uint64_t view_told_ = 0;       // … and the newest that is answered, …
  GroupView told_view_;               // … so.
  std::vector<Lacks> lacks_;          // What is known to have been committed, and lost here; by copy.
  Committed committed_;               // The newest of that, whoever has it; of epoch zero: there is none.
  wal::EpochHistory committed_history_;  // What led to it.
  std::optional<wal::EpochHistory::Content> let_first_;  // What the one has that I let first, or that I had as I was.

  // Primary.
  std::vector<Copy> obligations_;     // O, myself included.
  std::vector<Copy> promised_;        // O as of the last view: only a planted bug looks at it.
  Lsn commit_;
  Lsn epoch_start_;                   // Zero until its record is appended.
  bool open_ = false;
  bool views_owed_ = false;           // A view_question may wait.
  bool handing_over_ = false;         // The owner drains: nothing new, and no change of the set.
  BootNs leading_since_{};
  BootNs helpless_since_{};           // Neither lease nor coordinator.
  BootNs leaseless_since_{};          // Primary without its lease.
  Progress own_progress_;
  BootNs progress_looked_at_{};
  BootNs initiator_heard_{};
  std::optional<BootNs> initiator_lost_;
  std::size_t initiators_ = 0;
  BootNs next_initiator_question_{};
};

}  // namespace holdfast::engine
