#include "coord/watch_hub.h"

#include <algorithm>

namespace holdfast::coord {
namespace {

// Who asks about a change that it was told of already cannot read it, and would ask again and again.
constexpr std::int64_t kKnownPauseMs = 50;
constexpr std::int64_t kLookMs = 250;
constexpr std::int64_t kBehindMs = 1'000;
constexpr std::int64_t kUnwantedMs = 10'000;
constexpr std::int64_t kPauseMsMin = 100, kPauseMsMax = 2'000;

}  // namespace

WatchHub::WatchHub(Loop& loop, HttpClient& http, EtcdChannel& channel, const EtcdOptions& options, EtcdStats& stats)
    : loop_(&loop), http_(&http), channel_(&channel), options_(&options), stats_(&stats), prefix_(options.prefix + "/"), wanted_(loop) {}

Task<void> WatchHub::wait(std::string key, std::uint64_t revision) {
  Waiting waiting(loop_->clock(), &key, revision);
  last_wanted_ = channel_->now();
  const auto known = known_.find(key);
  const bool is_known = known != known_.end() && known->second.revision > revision && !(known->second.erased && revision == 0);
  if (is_known || waiting_count_ >= kWaitingMax) {
    co_await waiting.timer.after(milliseconds(is_known ? kKnownPauseMs : options_->watch_timeout_ms));
    co_return;
  }
  waiting_.push_back(waiting);
  ++waiting_count_;
  wanted_.notify_all();
  co_await waiting.timer.after(milliseconds(options_->watch_timeout_ms));
  --waiting_count_;
}

void WatchHub::seen(std::uint64_t etcd_revision, std::uint64_t key_revision) {
  if (position_ == 0) {
    position_ = etcd_revision;
    return;
  }
  if (key_revision <= position_ || ahead_ != 0) return;
  ahead_ = key_revision;
  ahead_since_ = channel_->now();
}

void WatchHub::reached(std::uint64_t revision) {
  position_ = std::max(position_, revision);
  if (position_ >= ahead_) ahead_ = 0;
}

void WatchHub::changed(const WatchLine::Change& change) {
  stats_->changes.add();
  if (known_.size() >= kKeysMax && !known_.contains(change.key)) known_.clear();
  known_[change.key] = {change.revision, change.erased};
  for (Waiting& waiting : waiting_)
    if (*waiting.key == change.key && change.revision > waiting.revision) waiting.timer.cancel();
}

void WatchHub::wake_all() {
  known_.clear();
  for (Waiting& waiting : waiting_) waiting.timer.cancel();
}

void WatchHub::hear_cancelled(Stream* stream, const WatchLine& line) {
  stream->ended = true;
  if (line.compact_revision == 0) {
    stream->error = Error(Errc::io_error, line.reason);
    return;
  }
  // What is gone may have been about anything.
  stats_->streams_compacted.add();
  reached(line.compact_revision - 1);
  wake_all();
}

void WatchHub::hear(Stream* stream, std::string_view text) {
  if (stream->ended || text.empty()) return;
  auto line = decode_watch_line(stream->where, text);
  if (!line) {
    stream->ended = true;
    stream->error = line.error();
    stream->wake.cancel();
    return;
  }
  if (line->created) {
    stream->created = true;
    if (position_ == 0) reached(line->revision);
  }
  if (line->cancelled) {
    hear_cancelled(stream, *line);
    stream->wake.cancel();
    return;
  }
  std::uint64_t newest = 0;
  for (const WatchLine::Change& change : line->changes) {
    changed(change);
    newest = std::max(newest, change.revision);
  }
  if (!line->changes.empty()) {
    // Of a revision whose changes come in pieces the last piece may be missing when the stream breaks off.
    if (!line->more_follows) reached(newest);
  } else if (!line->created) {
    reached(line->revision);  // Nothing has happened up to there.
  }
}

bool WatchHub::may_go_on(const Stream& stream, BootNs begun) {
  const BootNs now = channel_->now();
  if (stream.ended || stream.exchange->done()) return false;
  if (!stream.created && now - begun > milliseconds(options_->request_timeout_ms)) return false;
  if (ahead_ != 0 && now - ahead_since_ > milliseconds(kBehindMs)) {
    stats_->streams_behind.add();
    return false;
  }
  if (!waiting_.empty()) last_wanted_ = now;
  return now - begun < milliseconds(options_->stream_life_ms) && now - last_wanted_ < milliseconds(kUnwantedMs);
}

// True: it ended in order.
Task<bool> WatchHub::stream_once() {
  auto token = co_await channel_->token(channel_->now() + milliseconds(options_->request_timeout_ms));
  if (!token) co_return false;
  const std::size_t endpoint = channel_->order().at(channel_->now()).front();
  Stream stream(loop_->clock());
  stream.where = channel_->url(endpoint);
  HttpCalls calls;
  calls.on_done = [wake = &stream.wake] { wake->cancel(); };
  calls.on_line = [this, stream = &stream](std::string_view line) { hear(stream, line); };
  stats_->streams.add();
  ahead_ = 0;
  const BootNs begun = channel_->now();
  HttpRequest request{"/v3/watch", encode_watch(prefix_, end_of_prefix(prefix_), position_ == 0 ? 0 : position_ + 1), *token, 0};
  stream.exchange = http_->start(endpoint, std::move(request), std::move(calls));
  while (may_go_on(stream, begun)) co_await stream.wake.after(milliseconds(kLookMs));
  const bool in_order = stream.created && !stream.ended && !stream.exchange->done() && ahead_ == 0;
  if (in_order) co_return true;
  if (stream.exchange->done()) {
    const HttpAnswer& answer = stream.exchange->answer();
    if (answer.status != 0 && decode_refusal(answer.status, answer.body).kind == Refusal::Kind::token) channel_->drop_token(*token);
    if (!stream.ended) stream.error = answer.error;
  }
  // What cannot be read could not be read again either: it is skipped.
  if (stream.created && stream.error.code == Errc::protocol) {
    position_ = 0;
    wake_all();
  }
  // Another member next time, unless it was only the history that was too short.
  if (!stream.created || ahead_ != 0 || stream.exchange->done()) channel_->failed(endpoint);
  co_return false;
}

Task<void> WatchHub::run() {
  std::int64_t pause_ms = kPauseMsMin;
  Timer pause(loop_->clock());
  for (;;) {
    while (waiting_.empty()) co_await wanted_.wait();
    const bool in_order = co_await stream_once();
    pause_ms = in_order ? kPauseMsMin : std::min(pause_ms * 2, kPauseMsMax);
    if (!in_order) co_await pause.after(milliseconds(pause_ms));
  }
}

}  // namespace holdfast::coord
