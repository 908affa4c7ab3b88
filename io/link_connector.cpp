#include "io/link_connector.h"

#include <algorithm>
#include <coroutine>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "io/link_handshake.h"
#include "io/stream_deadline.h"

namespace holdfast::io {
namespace {

constexpr DurationNs kStaleAddresses = milliseconds(10'000);  // Older ones are mentioned when none of them answers.

// "<node and address>: <what>", with the time it took if it was the time that ended it.
std::string trouble_at(const Endpoint& endpoint, const Error& error) {
  return concat(endpoint.text(), ": ", error.message.empty() ? errc_name(error.code) : std::string_view(error.message));
}

}  // namespace

struct TcpConnector::Attempt : ListNode<Attempt> {
  NodeId node;
  Uuid group{};
  Stream* stream = nullptr;              // What is to be closed to end it; empty before a connection is made.
  bool done = false;
  Result<std::unique_ptr<Link>> result = fail(Errc::closed);
  std::coroutine_handle<> waiter;        // Empty: who asked does not wait yet, or has gone.
};

// What connect() awaits. Its frame may be destroyed at any moment, so it is resumed from the reactor's jobs and never through the queue of
// ready flows: one of those may destroy the frame first.
class TcpConnector::Answer {
 public:
  explicit Answer(std::shared_ptr<Attempt> attempt) : attempt_(std::move(attempt)) {}
  Answer(const Answer&) = delete;
  ~Answer() { attempt_->waiter = {}; }
  bool await_ready() const noexcept { return attempt_->done; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { attempt_->waiter = waiter; }
  void await_resume() const noexcept {}

 private:
  std::shared_ptr<Attempt> attempt_;
};

TcpConnector::TcpConnector(LinkMemory& memory, std::shared_ptr<LinkCredentials> credentials, const AddressBook& book,
                           LinkConnectorOptions options)
    : memory_(&memory), credentials_(std::move(credentials)), book_(&book), options_(options), scope_(memory.reactor()) {}

TcpConnector::~TcpConnector() = default;

Task<Result<std::unique_ptr<Link>>> TcpConnector::connect(NodeId node, Uuid group) {
  if (stopping_) co_return fail(Errc::closed, "this node is stopping");
  if (scope_.running() >= options_.under_way_max) co_return fail(Errc::overloaded, "too many connections are being made");
  auto attempt = std::make_shared<Attempt>();
  attempt->node = node;
  attempt->group = group;
  scope_.spawn(run(attempt));
  Answer answer(attempt);
  co_await answer;
  co_return std::move(attempt->result);
}

Task<void> TcpConnector::run(std::shared_ptr<Attempt> attempt) {
  if (stopping_) co_return finish(attempt);
  under_way_.push_back(*attempt);
  auto link = co_await try_all(attempt.get());
  attempt->unlink();
  if (!stopping_) {
    note(attempt->node, link ? nullptr : &link.error());
    attempt->result = std::move(link);
  } else if (link) {
    (*link)->close();
  }
  finish(attempt);
}

void TcpConnector::finish(const std::shared_ptr<Attempt>& attempt) {
  memory_->reactor().post_remote([attempt] {
    attempt->done = true;
    if (const auto waiter = std::exchange(attempt->waiter, {})) return waiter.resume();
    // Nobody waits any more: the other side is to hear that this is no crash.
    if (attempt->result) (*attempt->result)->close();
  });
}

Task<Result<std::unique_ptr<Link>>> TcpConnector::try_all(Attempt* attempt) {
  const auto addresses = book_->find(attempt->node);
  if (!addresses) co_return fail(addresses.error().code, concat("node ", attempt->node.value, ": ", addresses.error().text()));
  const Clock& clock = memory_->reactor().clock();
  const BootNs until = clock.now() + options_.limit;
  const std::vector<Endpoint> endpoints = in_order(attempt->node, *addresses);
  std::string troubles;
  Errc code = Errc::not_found;
  for (const Endpoint& endpoint : endpoints) {
    auto link = co_await try_one(attempt, &endpoint);
    if (link) {
      if (Known* node = known(attempt->node)) node->last_good = endpoint;
      co_return link;
    }
    code = link.error().code;
    troubles += (troubles.empty() ? "" : "; ") + trouble_at(endpoint, link.error());
    if (stopping_ || clock.now() >= until) break;
  }
  if (endpoints.empty()) troubles = "no address of it is known";
  if (addresses->age > kStaleAddresses) troubles += "; its addresses may be out of date";
  co_return fail(code, concat("node ", attempt->node.value, " is not reached: ", troubles));
}

Task<Result<std::unique_ptr<Link>>> TcpConnector::try_one(Attempt* attempt, const Endpoint* endpoint) {
  // A look-up would stop this thread.
  if (!endpoint->is_numeric()) co_return fail(Errc::invalid_argument, "is no IP address: names are not looked up here");
  auto connected = co_await connect_tcp(memory_->reactor(), *endpoint, options_.tcp);
  if (!connected) co_return fail(connected.error());
  std::unique_ptr<Stream> stream = std::move(*connected);
  if (stopping_) co_return fail(Errc::closed);
  Stream* const below = stream.get();  // Stays where it is when TLS is put around it.
  attempt->stream = below;
  StreamDeadline deadline(memory_->reactor().clock(), options_.handshake_limit, *below);
  auto greeted = co_await greet(&stream, credentials_.get(), attempt->node, attempt->group);
  co_await deadline.finish();
  attempt->stream = nullptr;
  if (!deadline.is_over() && !stopping_ && greeted) co_return make_tcp_link(*memory_, std::move(stream));
  stream->close();
  if (stopping_) co_return fail(Errc::closed);
  if (deadline.is_over())
    co_return fail(Errc::timed_out, concat("the connection was made, but no welcome came within ", options_.handshake_limit.value / 1'000'000, " ms"));
  co_return fail(greeted.error());
}

std::vector<Endpoint> TcpConnector::in_order(NodeId node, const NodeAddresses& addresses) {
  std::vector<Endpoint> out(addresses.endpoints.begin(), addresses.endpoints.begin() + std::min(addresses.endpoints.size(), kAddressesMax));
  if (const Known* one = known(node)) {
    const auto last_good = std::ranges::find(out, one->last_good);
    if (last_good != out.end()) std::rotate(out.begin(), last_good, last_good + 1);
  }
  return out;
}

// Empty when there are too many nodes to remember another one.
TcpConnector::Known* TcpConnector::known(NodeId node) {
  const auto found = known_.find(node);
  if (found != known_.end()) return &found->second;
  if (known_.size() >= kKnownMax) return nullptr;
  return &known_[node];
}

void TcpConnector::note(NodeId node, const Error* trouble) {
  Known* const one = known(node);
  if (!one) return;
  if (trouble && trouble->message != one->trouble) log_warning(concat("links: ", trouble->message));
  if (!trouble && !one->trouble.empty()) log_info(concat("links: node ", node.value, " is reached at ", one->last_good.text()));
  one->trouble = trouble ? trouble->message : std::string();
}

Task<void> TcpConnector::stop() {
  stopping_ = true;
  for (Attempt& attempt : under_way_)
    if (attempt.stream) attempt.stream->close();
  co_await scope_.join();
  // Answers that are on their way come before this one.
  Event answered(memory_->reactor());
  memory_->reactor().post_remote([&answered] { answered.set(); });
  co_await answered.wait();
}

}  // namespace holdfast::io
