// Rebuilding from another copy, and being asked by one.
#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/marks.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/replica.h"

namespace holdfast::engine {
namespace {

constexpr std::int64_t kWantedMs = 5'000;   // Who has asked nothing for so long has given up.
constexpr std::int64_t kPaceMsMax = 500;   // That a question waits here for its turn, about.
// Of an answer: a read here and there; the same behind others, and the rate; for an image a checkpoint.
constexpr std::int64_t kBlockAnswerMs = 4'000, kAnswerMs = 10'000, kImageAnswerMs = 60'000;
constexpr std::size_t kAnswersInAllMax = 256;
constexpr std::int64_t kCountedOnPauseMs = 5;
constexpr std::size_t kAnswersMax = 64;  // Under way for one connection: nobody of ours asks for more at once.

std::int64_t answer_ms(rebuild::QuestionKind kind) {
  using rebuild::QuestionKind;
  if (kind == QuestionKind::image) return kImageAnswerMs;
  return kind == QuestionKind::block || kind == QuestionKind::contents ? kBlockAnswerMs : kAnswerMs;
}

}  // namespace

// Asks over one connection, for as long as it lives.
class Replica::SessionPeer final : public rebuild::Peer {
 public:
  SessionPeer(Replica& replica, SessionId session) : replica_(&replica), session_(session) {}
  Task<Result<rebuild::Answer>> ask(rebuild::Question question) override { return replica_->ask(session_, question); }

 private:
  Replica* replica_;
  SessionId session_;
};

Task<Result<rebuild::Answer>> Replica::ask(SessionId id, rebuild::Question question) {
  const auto found = std::find_if(sessions_.begin(), sessions_.end(), [&](const Session* s) { return s->id == id; });
  if (found == sessions_.end() || (*found)->ended) co_return fail(Errc::closed);
  Session* session = *found;
  WaitList answered(group_->ports().executor);
  rebuild::Answer answer;
  Session::Asked asked{session->next_question++, &answer, now() + milliseconds(answer_ms(question.kind)), false, false, &answered};
  question.id = asked.id;
  session->asked.push_back(&asked);
  session->questions.push_back(question);
  session->work.notify_all();
  // The session's flow takes what was asked out of its list before it ends, and wakes us.
  while (asked.wake) co_await answered.wait();
  if (!asked.answered) co_return fail(asked.late ? Errc::timed_out : Errc::closed);
  co_return answer;
}

Task<Result<rebuild::Answer>> Replica::ask_others(rebuild::Question question) {
  std::vector<SessionId> open;
  for (const Session* session : sessions_)
    if (!session->ended) open.push_back(session->id);
  bool answered = false;
  for (const SessionId id : open) {
    auto answer = co_await ask(id, question);
    answered = answered || answer;
    if (answer && answer->code == Errc{}) co_return answer;
  }
  co_return fail(answered ? Errc::not_found : Errc::closed);
}

Task<Result<rebuild::Answer>> Replica::ask_node(NodeId node, rebuild::Question question) {
  const Session* session = find_session(node);
  if (!session) co_return fail(Errc::closed);
  auto answer = co_await ask(session->id, question);
  co_return answer;
}

void Replica::distrust(NodeId node) {
  event([&](RoleMachine& m) { m.distrust(node); });
}

bool Replica::take_answer(Session& session, rebuild::Answer answer) {
  const auto found = std::find_if(session.asked.begin(), session.asked.end(), [&](const auto* a) { return a->id == answer.id; });
  if (found == session.asked.end()) {
    if (session.given_up == 0 || answer.id >= session.next_question) return false;
    --session.given_up;  // Too late.
    return true;
  }
  Session::Asked* asked = *found;
  session.asked.erase(found);
  *asked->into = std::move(answer);
  asked->answered = true;
  std::exchange(asked->wake, nullptr)->notify_all();
  return true;
}

void Replica::forget_asked(Session& session) {
  for (Session::Asked* asked : std::exchange(session.asked, {})) std::exchange(asked->wake, nullptr)->notify_all();
}

// Who does not answer in time may do so later, or never.
void Replica::give_up_questions() {
  for (Session* session : sessions_)
    for (std::size_t i = 0; i < session->asked.size();) {
      Session::Asked* asked = session->asked[i];
      if (now() < asked->until) {
        ++i;
        continue;
      }
      mark(Mark::ask_timed_out);
      log_warning(concat("node ", session->node.value, " does not answer a question: it is given up"));
      std::erase_if(session->questions, [&](const rebuild::Question& q) { return q.id == asked->id; });
      session->asked.erase(session->asked.begin() + static_cast<std::ptrdiff_t>(i));
      ++session->given_up;
      asked->late = true;
      std::exchange(asked->wake, nullptr)->notify_all();
    }
}

// An answer may take as long as it likes: its connection does not wait for it when it ends.
bool Replica::take_question(Session& session, rebuild::Question question) {
  if (session.answering >= kAnswersMax) return false;
  if (answering_ >= kAnswersInAllMax) return true;  // Of connections that have ended. The other side asks again.
  ++session.answering;
  ++answering_;
  scope_.spawn(answer(session.id, session.node, question));
  return true;
}

Task<void> Replica::answer(SessionId id, NodeId asker, rebuild::Question question) {
  auto found = co_await find_answer(question);
  note_wanted(asker, question, found);
  --answering_;
  const auto session = std::find_if(sessions_.begin(), sessions_.end(), [&](const Session* s) { return s->id == id; });
  if (session == sessions_.end() || (*session)->ended) co_return;
  rebuild::Answer answer;
  if (found) answer = std::move(*found);
  else answer.code = found.error().code;
  answer.id = question.id;
  (*session)->answers.push_back(std::move(answer));
  (*session)->work.notify_all();
}

// At the rate that rebuilds may have here. Whose turn is far off asks again, so that nothing waits here for long.
Task<Result<rebuild::Answer>> Replica::find_answer(rebuild::Question question) {
  const bool chunk = question.kind == rebuild::QuestionKind::chunk;
  if (chunk || question.kind == rebuild::QuestionKind::leaf) {
    if (rebuild_pacer_.debt(now()) > milliseconds(kPaceMsMax)) co_return fail(Errc::busy);
    const DurationNs wait = rebuild_pacer_.take(now(), chunk ? kChunkBytes : snapshot::kPageBytes);
    if (wait > DurationNs{}) {
      mark(Mark::rebuild_paced);
      Timer pause(group_->ports().clock);
      co_await pause.after(wait);
    }
  }
  if (stopping_) co_return fail(Errc::closed);
  auto found = co_await group_->answer(question);
  co_return found;
}

// A rebuild shows itself by its questions. The log from its image on is what its copy needs when it is done.
void Replica::note_wanted(NodeId node, const rebuild::Question& question, const Result<rebuild::Answer>& answer) {
  const auto known = std::find_if(wanted_.begin(), wanted_.end(), [&](const Wanted& w) { return w.node == node; });
  if (known != wanted_.end()) known->asked = now();
  if (question.kind != rebuild::QuestionKind::image || !answer) return;
  if (known != wanted_.end()) known->lsn = answer->lsn.next();
  else if (wanted_.size() < RoleMachine::kPeersMax) wanted_.push_back(Wanted{node, answer->lsn.next(), now()});
}

void Replica::look_at_learners() {
  learners_.clear();
  if (!machine_.is_open()) {
    wanted_.clear();
    return hold_back_.reset();
  }
  const wal::Log& log = group_->log();
  std::erase_if(wanted_, [&](const Wanted& w) { return now() - w.asked > milliseconds(kWantedMs) || !machine_.view().is_member(w.node); });
  for (const NodeId node : machine_.view().members) {
    if (node == start_.self.node) continue;
    const auto& needed = machine_.obligations();
    const bool joined = std::any_of(needed.begin(), needed.end(), [&](const Copy& copy) { return copy.node == node; });
    const Session* session = find_session(node);
    const auto acked = session ? machine_.ship_after(node, session->id) : std::nullopt;
    if (joined) hold_back_.joined(node);
    if (joined || acked) std::erase_if(wanted_, [&](const Wanted& w) { return w.node == node; });
    if (joined) continue;
    const auto wanted = std::find_if(wanted_.begin(), wanted_.end(), [&](const Wanted& w) { return w.node == node; });
    if (!acked && wanted == wanted_.end()) continue;
    // What is on its way to it has been read already.
    const Lsn needs = acked ? std::max(acked->next(), session->next) : wanted->lsn;
    learners_.push_back({node, needs, log.blocks_until_overwritten(needs), machine_.only_lacks_records(node, now()) ? acked : std::nullopt});
  }
  hold_back_.look(now(), log.geometry().blocks, machine_.commit(), learners_);
  if (const auto node = hold_back_.take_given_up())
    log_warning(concat("node ", node->value, " was overtaken by the log ", HoldBack::kLapsMax, " times in a row, though writers were slowed down for it; they are not any more, for ",
                       HoldBack::kRestMs / 60'000, " minutes. A longer log (store.log_size), a faster disk or network there, or less load would let it join"));
}

// One attempt: when it fails, the next connection begins anew, and what was fetched stays.
Task<Result<void>> Replica::rebuild_from(RebuildFrom what) {
  co_await receiver_.settle();
  const auto alive = [&] { return std::any_of(sessions_.begin(), sessions_.end(), [&](const Session* s) { return s->id == what.session && !s->ended; }); };
  // What is right of this copy may be the last there is until the register counts on it no more.
  Timer pause(group_->ports().clock);
  while (what.whole && alive() && machine_.is_counted_on() && jobs_.empty()) (void)co_await pause.after(milliseconds(kCountedOnPauseMs));
  if (what.whole && machine_.is_counted_on()) close_session(what.session);
  if (!alive()) co_return Result<void>{};
  SessionPeer peer(*this, what.session);
  auto done = co_await group_->rebuild(&peer, what.whole);
  if (!done) mark(Mark::rebuild_interrupted);
  if (done) event([&](RoleMachine& m) { m.rebuilt(now()); });
  else log_warning(concat("the rebuild of this copy is interrupted: ", done.error().text(), "; it goes on with the next connection"));
  close_session(what.session);
  co_return Result<void>{};
}

}  // namespace holdfast::engine
