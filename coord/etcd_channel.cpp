#include "coord/etcd_channel.h"

#include <algorithm>
#include <fstream>

#include "base/log.h"
#include "base/text.h"

namespace holdfast::coord {
namespace {

// Which of several members' errors to pass on: what an operator has to look after goes before what passes.
int weight(Errc code) {
  switch (code) {
    case Errc::foreign: return 4;
    case Errc::permission: return 3;
    case Errc::protocol:
    case Errc::invalid_argument: return 2;
    case Errc::timed_out: return 0;
    default: return 1;
  }
}

Error error_of(const std::string& where, const Refusal& refusal) {
  using enum Refusal::Kind;
  const std::string says = concat("the etcd at ", where, " says: ", refusal.message);
  switch (refusal.kind) {
    case token: return Error(Errc::permission, concat(says, "; does it want a user? (user, password)"));
    case permission: return Error(Errc::permission, concat(says, "; check user and password, and the user's role: it reads and writes all keys below the prefix"));
    case auth_is_off: return Error(Errc::permission, says);
    case compacted: return Error(Errc::out_of_range, says);
    case not_now: return Error(Errc::io_error, says);
    case other: break;
  }
  return Error(Errc::protocol, says);
}

}  // namespace

// What is under way for one question. Ends with the frame that asked.
struct EtcdChannel::Race {
  explicit Race(Clock& clock) : wake(clock) {}
  Race(const Race&) = delete;
  ~Race() {
    for (Attempt& attempt : attempts) attempt.exchange->cancel();
  }
  struct Attempt {
    std::size_t endpoint;
    std::shared_ptr<HttpExchange> exchange;
    BootNs begun, connect_due;
  };
  Timer wake;  // Cancelled by an attempt that is done.
  std::vector<Attempt> attempts;
};

EtcdChannel::EtcdChannel(Loop& loop, HttpClient& http, const EtcdOptions& options, std::vector<HttpEndpoint> endpoints, EtcdStats& stats)
    : loop_(&loop), http_(&http), options_(&options), stats_(&stats), order_(endpoints.size()), authenticated_(loop) {
  for (const HttpEndpoint& endpoint : endpoints) stats_->endpoints.emplace_back().url = endpoint.url();
}

void EtcdChannel::begin(Race* race, std::size_t endpoint, const Question& question, const std::string& token) {
  stats_->endpoints[endpoint].questions.add();
  HttpCalls calls;
  calls.on_done = [wake = &race->wake] { wake->cancel(); };
  auto exchange = http_->start(endpoint, HttpRequest{question.path, question.body, token, question.answer_bytes_max}, std::move(calls));
  race->attempts.push_back({endpoint, std::move(exchange), now(), now() + milliseconds(options_->connect_timeout_ms)});
}

void EtcdChannel::failed(std::size_t endpoint) {
  stats_->endpoints[endpoint].failures.add();
  order_.failed(endpoint, now());
}

void EtcdChannel::answered(std::size_t endpoint, BootNs begun) {
  stats_->endpoints[endpoint].answers.add(now() - begun);
  stats_->preferred.set(endpoint);
  order_.answered(endpoint);
}

void EtcdChannel::suspect_token(const std::string& used) {
  if (now() - token_since_ >= milliseconds(options_->token_trusted_ms)) drop_token(used);
}

void EtcdChannel::drop_token(const std::string& refused) {
  if (token_ == refused) token_.clear();
  auth_is_off_ = false;
}

// Looks at the attempts that are done. True: the race is over.
bool EtcdChannel::settle(Race* race, Question* question, const std::string* token, RaceEnd* end) {
  for (std::size_t i = 0; i < race->attempts.size();) {
    const Race::Attempt& attempt = race->attempts[i];
    if (!attempt.exchange->done()) {
      ++i;
      continue;
    }
    const HttpAnswer& answer = attempt.exchange->answer();
    const std::string& where = url(attempt.endpoint);
    Error error = answer.error;
    Refusal refusal;
    if (answer.status == 200) {
      const auto judged = question->judge(where, answer.body);
      if (judged) {
        answered(attempt.endpoint, attempt.begun);
        end->good = true;
        return true;
      }
      error = judged.error();
    } else if (answer.status != 0) {
      refusal = decode_refusal(answer.status, answer.body);
      error = error_of(where, refusal);
    } else if (error.code == Errc::closed && !token->empty()) {
      suspect_token(*token);
    }
    using enum Refusal::Kind;
    const bool all_say_so = refusal.kind != other && refusal.kind != not_now;
    if (!all_say_so) failed(attempt.endpoint);
    if (all_say_so || weight(error.code) >= weight(end->error.code)) {
      end->error = std::move(error);
      end->refusal = refusal.kind;
    }
    if (all_say_so) return true;
    race->attempts.erase(race->attempts.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return false;
}

// Whoever could not even be sent the question by now is not waited for.
void EtcdChannel::give_up_unsent(Race* race, RaceEnd* end) {
  std::erase_if(race->attempts, [&](Race::Attempt& attempt) {
    if (attempt.exchange->may_be_sent() || now() < attempt.connect_due) return false;
    attempt.exchange->cancel();
    failed(attempt.endpoint);
    if (weight(end->error.code) == 0)
      end->error = Error(Errc::timed_out, concat(url(attempt.endpoint), ": no connection within ", options_->connect_timeout_ms, " ms"));
    return true;
  });
}

Task<EtcdChannel::RaceEnd> EtcdChannel::race(Question* question, const std::string* token) {
  Race race(loop_->clock());
  RaceEnd end;
  const std::vector<std::size_t> order = order_.at(now());
  // The first one once more in the end: what broke may have been a connection that was kept too long.
  const std::size_t attempts_max = order.size() + 1;
  BootNs next_due{};
  for (std::size_t begun = 0; now() < question->deadline;) {
    if (begun < attempts_max && (race.attempts.empty() || now() >= next_due)) {
      if (!race.attempts.empty()) stats_->hedges.add();
      begin(&race, order[begun++ % order.size()], *question, *token);
      next_due = now() + milliseconds(options_->hedge_after_ms);
    }
    const bool over = settle(&race, question, token, &end);
    give_up_unsent(&race, &end);
    if (over && end.good) {
      // Who is so slow that somebody else came first is not asked first again.
      for (const Race::Attempt& attempt : race.attempts)
        if (!attempt.exchange->done() && now() - attempt.begun >= milliseconds(options_->hedge_after_ms)) failed(attempt.endpoint);
    }
    if (over || (race.attempts.empty() && begun == attempts_max)) co_return end;
    if (race.attempts.empty()) continue;
    BootNs due = question->deadline;
    if (begun < attempts_max) due = std::min(due, next_due);
    for (const Race::Attempt& attempt : race.attempts)
      if (!attempt.exchange->may_be_sent()) due = std::min(due, attempt.connect_due);
    co_await race.wake.until(due);
  }
  for (const Race::Attempt& attempt : race.attempts) failed(attempt.endpoint);
  if (end.error.message.empty()) end.error.message = concat("no answer within ", options_->request_timeout_ms, " ms");
  co_return end;
}

Task<Result<void>> EtcdChannel::read(Question* question) {
  RaceEnd end;
  for (int tries = 0; tries < 2; ++tries) {
    auto with = co_await token(question->deadline);
    if (!with) co_return fail(with.error());
    auto ended = co_await race(question, &*with);
    end = std::move(ended);
    if (end.good) co_return Result<void>{};
    if (end.refusal != Refusal::Kind::token) break;
    drop_token(*with);
    if (options_->user.empty()) break;
  }
  co_return fail(end.error);
}

Task<Written> EtcdChannel::write(Question* question) {
  Written written;
  for (int tries = 0; tries < 2; ++tries) {
    auto with = co_await token(question->deadline);
    if (!with) {
      written.error = with.error();
      co_return written;
    }
    bool token_refused = false;
    auto ended = co_await write_with(question, &*with, &token_refused);
    written = std::move(ended);
    if (!token_refused) co_return written;
    drop_token(*with);
    if (options_->user.empty()) co_return written;
  }
  co_return written;
}

Task<Written> EtcdChannel::write_with(Question* question, const std::string* token, bool* token_refused) {
  Written written;
  const std::vector<std::size_t> order = order_.at(now());
  for (const std::size_t endpoint : order) {
    if (now() >= question->deadline) break;
    Race race(loop_->clock());
    const BootNs begun = now();
    begin(&race, endpoint, *question, *token);
    HttpExchange* exchange = race.attempts.front().exchange.get();
    const BootNs connect_due = std::min(race.attempts.front().connect_due, question->deadline);
    while (!exchange->done() && now() < (exchange->may_be_sent() ? question->deadline : connect_due)) {
      // The moment of sending wakes nobody: it is looked for when connecting has taken its time.
      co_await race.wake.until(now() < connect_due ? connect_due : question->deadline);
    }
    if (!exchange->done()) {
      exchange->cancel();
      written.error = Error(Errc::timed_out, concat(url(endpoint), ": no answer in time"));
    } else if (exchange->answer().status == 200) {
      answered(endpoint, begun);
      written.answered = true;
      written.endpoint = endpoint;
      written.where = url(endpoint);
      written.body = exchange->answer().body;
      co_return written;
    } else if (exchange->answer().status != 0) {
      const Refusal refusal = decode_refusal(exchange->answer().status, exchange->answer().body);
      written.error = error_of(url(endpoint), refusal);
      *token_refused = refusal.kind == Refusal::Kind::token;
      if (*token_refused || refusal.kind == Refusal::Kind::permission) co_return written;
    } else {
      written.error = exchange->answer().error;
      if (written.error.code == Errc::closed && !token->empty()) suspect_token(*token);
    }
    failed(endpoint);
    if (exchange->may_be_sent()) co_return written;
  }
  co_return written;
}

// One at a time; who comes meanwhile takes the same result.
Task<Result<std::string>> EtcdChannel::token(BootNs deadline) {
  if (options_->user.empty()) co_return std::string();
  const std::uint64_t before = authentications_;
  while (authenticating_) co_await authenticated_.wait();
  if (!token_.empty() || auth_is_off_) co_return token_;
  if (authentications_ != before) co_return fail(last_authentication_.error);
  authenticating_ = true;
  auto end = co_await authenticate(deadline);
  last_authentication_ = std::move(end);
  authenticating_ = false;
  ++authentications_;
  authenticated_.notify_all();
  if (!last_authentication_.good) co_return fail(last_authentication_.error);
  co_return token_;
}

// The file may be about to be replaced: what was known at the start is better than nothing.
std::string EtcdChannel::password() const {
  if (options_->password_file.empty()) return options_->password;
  std::ifstream file(options_->password_file);
  std::string line;
  if (std::getline(file, line) && line.ends_with('\r')) line.pop_back();
  if (!line.empty()) return line;
  log_warning(concat("coordinator: ", options_->password_file, " is empty or cannot be read: the password of the start is used"));
  return options_->password;
}

Task<EtcdChannel::RaceEnd> EtcdChannel::authenticate(BootNs deadline) {
  stats_->authentications.add();
  Question question{"/v3/auth/authenticate", encode_authenticate(options_->user, password()), deadline, {}};
  question.judge = [this](const std::string& where, std::string_view body) -> Result<void> {
    auto token = decode_token(where, body);
    if (!token) return fail(token.error());
    token_ = std::move(*token);
    token_since_ = now();
    return {};
  };
  const std::string none;
  auto end = co_await race(&question, &none);
  if (!end.good && end.refusal == Refusal::Kind::auth_is_off) {
    if (!auth_is_off_) log_warning("coordinator: a user is configured, but etcd's authentication is not enabled: everybody may change its data");
    auth_is_off_ = end.good = true;
  }
  co_return end;
}

}  // namespace holdfast::coord
