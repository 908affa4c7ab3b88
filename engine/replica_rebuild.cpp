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

constexpr std::size_t kAnswersMax = 64;  // Under way for one connection: nobody of ours asks for more at once.

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
  Session::Asked asked{session->next_question++, &answer, false, &answered};
  question.id = asked.id;
  session->asked.push_back(&asked);
  session->questions.push_back(question);
  session->work.notify_all();
  // The session's flow takes what was asked out of its list before it ends, and wakes us.
  while (asked.wake) co_await answered.wait();
  if (!asked.answered) co_return fail(Errc::closed);
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
  if (found == session.asked.end()) return false;
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

bool Replica::take_question(Session& session, rebuild::Question question) {
  if (session.answering >= kAnswersMax) return false;
  ++session.answering;
  session.flows->spawn(answer(&session, question));
  return true;
}

Task<void> Replica::answer(Session* session, rebuild::Question question) {
  rebuild::Answer answer;
  auto found = co_await group_->answer(question);
  if (found) answer = std::move(*found);
  else answer.code = found.error().code;
  answer.id = question.id;
  Buffer head = co_await frames_.acquire(BufferPool::kPageBytes);
  encoded_.clear();
  encode_answer(answer, encoded_);
  std::memcpy(head.data(), encoded_.data(), encoded_.size());
  head = head.slice(0, encoded_.size());
  --session->answering;
  if (session->ended) co_return;
  Frame frame;  // Named: GCC 12 destroys such a temporary twice.
  frame.head = std::move(head);
  frame.payload = std::move(answer.payload);
  auto sent = co_await session->link->send(std::move(frame));
  if (!sent) close_session(session->id);
}

// One attempt: when it fails, the next connection begins anew, and what was fetched stays.
Task<Result<void>> Replica::rebuild_from(RebuildFrom what) {
  co_await receiver_.settle();
  const auto alive = [&] { return std::any_of(sessions_.begin(), sessions_.end(), [&](const Session* s) { return s->id == what.session && !s->ended; }); };
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
