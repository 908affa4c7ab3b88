#include "io/link_listener.h"

#include "base/ensure.h"
#include "base/log.h"
#include "base/text.h"
#include "io/link_handshake.h"
#include "io/reactor.h"
#include "io/stream_deadline.h"

namespace holdfast::io {
namespace {

constexpr DurationNs kAcceptPause = milliseconds(100);
constexpr DurationNs kTellPause = milliseconds(1'000);  // Between two lines of the log about refusals.

}  // namespace

LinkListener::LinkListener(Reactor& reactor, std::unique_ptr<TcpListener> listener, std::shared_ptr<LinkCredentials> credentials,
                           LinkDoor& door, LinkListenerOptions options)
    : clock_(&reactor.clock()), listener_(std::move(listener)), credentials_(std::move(credentials)), door_(&door), options_(options),
      pause_(reactor.clock()), scope_(reactor) {}

Result<std::unique_ptr<LinkListener>> LinkListener::create(Reactor& reactor, std::unique_ptr<TcpListener> listener,
                                                           std::shared_ptr<LinkCredentials> credentials, LinkDoor& door,
                                                           LinkListenerOptions options) {
  ENSURE(options.under_way_max > 0);
  if (credentials->proof() == LinkProof::none) TRY(check_link_security({}, credentials->self(), listener->local_endpoint()));
  return std::unique_ptr<LinkListener>(new LinkListener(reactor, std::move(listener), std::move(credentials), door, options));
}

Task<void> LinkListener::accept_all() {
  while (!stopping_) {
    auto stream = co_await listener_->accept();
    if (stopping_) co_return;
    if (stream) {
      make_room();
      scope_.spawn(welcome(std::move(*stream)));
      co_await Yield{scope_.executor()};  // It is under way before the next one is taken.
      continue;
    }
    if (stream.error().code == Errc::closed) co_return;
    // Out of descriptors, say: give it time rather than spin.
    tell("a new connection", stream.error());
    co_await pause_.after(kAcceptPause);
  }
}

// Who is dropped goes at its next turn; until then there is one more.
void LinkListener::make_room() {
  if (under_way_count_ < options_.under_way_max) return;
  UnderWay& oldest = under_way_.pop_front();
  --under_way_count_;
  oldest.dropped = true;
  oldest.stream->close();
  stats_.dropped.add();
}

Task<void> LinkListener::welcome(std::unique_ptr<Stream> stream) {
  if (stopping_) co_return;
  Stream* const below = stream.get();  // Stays where it is when TLS is put around it.
  const std::string peer = below->peer_address();
  UnderWay entry;
  entry.stream = below;
  under_way_.push_back(entry);
  ++under_way_count_;
  StreamDeadline deadline(*clock_, options_.limit, *below);
  auto guest = co_await receive_guest(&stream, credentials_.get(), door_);
  co_await deadline.finish();
  if (!entry.dropped) {
    entry.unlink();
    --under_way_count_;
  }
  if (deadline.is_over()) {
    stats_.timed_out.add();
    tell(peer, Error(Errc::timed_out, concat("a new connection was given up: it had not proven itself within ", options_.limit.value / 1'000'000, " ms")));
  } else if (!guest) {
    if (entry.dropped || stopping_) co_return;
    stats_.refused.add();
    tell(peer, guest.error());
  } else if (!entry.dropped && !stopping_) {
    stats_.welcomed.add();
    door_->arrived({guest->from, guest->group, std::move(stream)});
  }
  // Says its end, where something still can be said.
  if (stream) stream->close();
}

void LinkListener::tell(const std::string& peer, const Error& error) {
  const BootNs now = clock_->now();
  if (told_ != BootNs{} && now - told_ < kTellPause) {
    ++untold_;
    return;
  }
  std::string line = concat("links: ", peer, ": ", error.message.empty() ? errc_name(error.code) : std::string_view(error.message));
  if (untold_ > 0) line += concat(" (and ", untold_, " more that were not logged)");
  log_warning(line);
  told_ = now;
  untold_ = 0;
}

Task<void> LinkListener::stop() {
  stopping_ = true;
  listener_->close();
  pause_.cancel();
  // Each goes at its next turn, and takes itself out of the list.
  for (UnderWay& entry : under_way_) entry.stream->close();
  co_await scope_.join();
}

}  // namespace holdfast::io
