// Connections to the other copies: who dials whom, and what is done with what comes in.
#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/marks.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/replica.h"

namespace holdfast::engine {
namespace {

using wal::FrameKind;

constexpr std::int64_t kRedialMs = 50;
constexpr std::int64_t kSilentTimeouts = 3;  // Of the time after which a member counts as silent.

}  // namespace

// Of two nodes the one with the smaller number dials.
void Replica::dial_members() {
  if (!connector_) return;
  for (const NodeId node : machine_.view().members) {
    if (node <= start_.self.node || std::find(dialed_.begin(), dialed_.end(), node) != dialed_.end()) continue;
    dialed_.push_back(node);
    outside_.spawn(dial(node));
  }
}

Task<void> Replica::dial(NodeId node) {
  Timer pause(group_->ports().clock);
  while (!stopping_ && !failed_ && machine_.view().is_member(node)) {
    auto link = co_await connector_->connect(node, start_.group);
    if (stopping_ || failed_) break;
    if (link) co_await run_session(node, std::move(*link));
    if (!stopping_) co_await pause.after(milliseconds(kRedialMs));
  }
  std::erase(dialed_, node);
}

void Replica::accept(NodeId from, std::unique_ptr<Link> link) {
  const Register& view = machine_.view();
  const bool stranger = machine_.view_revision() > 0 && !view.is_member(from);
  if (stopping_ || failed_ || stranger || from == start_.self.node || sessions_.size() >= RoleMachine::kPeersMax) return link->close();
  scope_.spawn(run_session(from, std::move(link)));
}

Task<void> Replica::run_session(NodeId node, std::unique_ptr<Link> link) {
  Session session(node, SessionId(next_session_++), std::move(link), group_->ports().executor);
  if (Session* older = find_session(node)) {
    mark(Mark::session_replaced);
    close_session(older->id);
  }
  sessions_.push_back(&session);
  event([&](RoleMachine& m) { m.connected(now(), node, session.id); });
  Scope flows(group_->ports().executor);
  session.heard = now();
  flows.spawn(send_all(&session));
  flows.spawn(ship_all(&session));
  const auto end = co_await receive_all(&session);
  close_session(session.id);
  event([&](RoleMachine& m) { m.disconnected(now(), node, session.id, end); });
  forget_asked(session);
  co_await flows.join();
  std::erase(sessions_, &session);
  session_gone_.notify_all();
}

Session* Replica::find_session(NodeId node) const {
  const auto found = std::find_if(sessions_.rbegin(), sessions_.rend(), [&](const Session* s) { return s->node == node && !s->ended; });
  return found == sessions_.rend() ? nullptr : *found;
}

void Replica::close_session(SessionId id) {
  for (Session* session : sessions_) {
    if (session->id != id || session->ended) continue;
    session->ended = true;
    session->link->close();
    session->work.notify_all();
  }
}

void Replica::say_hello_again() {
  for (const Session* session : std::vector<Session*>(sessions_)) close_session(session->id);
}

// The other side may have given a connection up without our learning of it.
void Replica::close_silent_sessions() {
  const DurationNs most = milliseconds(kSilentTimeouts * start_.timing.replica_timeout_ms);
  for (Session* session : sessions_)
    if (!session->ended && now() - session->heard > most) {
      mark(Mark::session_silent);
      close_session(session->id);
    }
}

Task<RoleMachine::LinkEnd> Replica::receive_all(Session* session) {
  while (!session->ended) {
    auto frame = co_await session->link->receive();
    if (!frame) {
      const bool reset = frame.error().code == Errc::io_error;
      co_return reset ? RoleMachine::LinkEnd::reset : RoleMachine::LinkEnd::closed;
    }
    session->heard = now();
    if (!session->ended && !failed_ && !take_frame(*session, std::move(*frame))) break;
  }
  co_return RoleMachine::LinkEnd::closed;
}

bool Replica::refuse_frame(const Session& session, const std::string& why) {
  log_warning(concat("node ", session.node.value, ": ", why, "; the connection is made anew"));
  return false;
}

bool Replica::take_frame(Session& session, Frame frame) {
  const auto header = peek_frame(frame.head.bytes());
  const bool append = header && header->kind == static_cast<std::uint16_t>(wal::FrameKind::append);
  if (append) {
    auto head = decode_append(frame.head.bytes());
    const bool whole = head && frame.payload.size() == header->payload_blocks * kBlockBytes;
    if (whole) {
      event([&](RoleMachine& m) { m.told_commit(now(), session.id, Lsn(head->body.commit_lsn)); });
      if (receiver_.take(session, *head, std::move(frame.payload))) return true;
    }
    return refuse_frame(session, "records make no sense here");
  }
  const FrameKind kind = header ? static_cast<FrameKind>(header->kind) : FrameKind::hello;
  if (kind == FrameKind::question) {
    auto question = decode_question(frame.head.bytes());
    if (question && take_question(session, *question)) return true;
    return refuse_frame(session, "a question makes no sense");
  }
  if (kind == FrameKind::answer) {
    auto answer = decode_answer(frame.head.bytes(), std::move(frame.payload));
    if (answer && take_answer(session, std::move(*answer))) return true;
    return refuse_frame(session, "an answer makes no sense");
  }
  auto message = decode_message(frame.head.bytes());
  if (!message) return refuse_frame(session, message.error().text());
  event([&](RoleMachine& m) { m.received(now(), session.node, session.id, *message); });
  if (const auto* ack = std::get_if<Ack>(&*message)) {
    session.free_chunks = ack->free_chunks;
    session.acked(ack->durable);
  }
  if (const auto* beat = std::get_if<Beat>(&*message)) session.free_chunks = beat->free_chunks;
  return true;
}

// The next of what waits to be sent; without a head when there is nothing, or no memory for it now.
void Replica::next_frame(Session& session, Frame& frame) {
  encoded_.clear();
  if (!session.outbox.empty()) encode_message(session.outbox.front(), encoded_);
  else if (!session.questions.empty()) encode_question(session.questions.front(), encoded_);
  else if (!session.answers.empty()) encode_answer(session.answers.front(), encoded_);
  else return;
  frame.head = frames_.try_acquire(encoded_.size());
  if (!frame.head) return;
  std::memcpy(frame.head.data(), encoded_.data(), encoded_.size());
  if (!session.outbox.empty()) {
    session.outbox.pop_front();
  } else if (!session.questions.empty()) {
    session.questions.erase(session.questions.begin());
  } else {
    frame.payload = std::move(session.answers.front().payload);
    session.answers.pop_front();
    --session.answering;
  }
}

Task<void> Replica::send_all(Session* session) {
  while (!session->ended) {
    Frame frame;  // Named: GCC 12 destroys such a temporary twice.
    next_frame(*session, frame);
    if (!frame.head) {
      co_await session->work.wait();
      continue;
    }
    auto sent = co_await session->link->send(std::move(frame));
    if (!sent) close_session(session->id);
  }
}

}  // namespace holdfast::engine
