#include "scsi/payload_budget.h"

#include <utility>

#include "base/ensure.h"

namespace holdfast::scsi {

// Whoever comes leaves room for what is waited for, at each level at which it is waited for: small commands that keep coming do not
// keep a large one waiting.
bool PayloadBudget::try_take(ConnectionShare& connection, Claim& claim, std::uint64_t bytes, Line line) {
  ENSURE(claim.bytes == 0 && !claim.linked());
  if (line == Line::behind && !connection.line_.empty()) return false;
  VolumeShare& volume = *connection.volume_;
  const auto has_room = [bytes](std::uint64_t held, std::uint64_t max, bool waited_for) {
    return held + bytes + (waited_for ? kTransferBytesMax : 0) <= max;
  };
  if (!has_room(connection.held_, connection_max(volume), !connection.line_.empty())) return false;
  if (!has_room(volume.held_, volume_max(), volume.short_in_round_ == round_)) return false;
  if (!has_room(held_, bytes_max_, short_)) return false;
  hold(connection, claim, bytes);
  return true;
}

void PayloadBudget::hold(ConnectionShare& connection, Claim& claim, std::uint64_t bytes) {
  claim.connection = &connection;
  claim.bytes = bytes;
  connection.held_ += bytes;
  connection.volume_->held_ += bytes;
  held_ += bytes;
}

void PayloadBudget::stand_in_line(ConnectionShare& connection, Claim& claim, std::uint64_t bytes) {
  ENSURE(bytes <= kTransferBytesMax);
  if (try_take(connection, claim, bytes, Line::behind)) return;
  claim.connection = &connection;
  claim.wanted = bytes;
  connection.line_.push_back(claim);
  if (!connection.linked()) waiting_.push_back(connection);
  serve();
}

void PayloadBudget::leave_line(Claim& claim) {
  claim.unlink();
  if (const auto waiter = std::exchange(claim.waiter, {})) executor_->post(waiter);
}

void PayloadBudget::give_up(Claim& claim) {
  if (!claim.linked()) return;
  leave_line(claim);
  if (claim.connection->line_.empty()) claim.connection->unlink();
  serve();  // It may have been the first, and too large for what is free.
}

void PayloadBudget::release(Claim& claim) {
  if (claim.bytes == 0) return;
  claim.connection->held_ -= claim.bytes;
  claim.connection->volume_->held_ -= claim.bytes;
  held_ -= claim.bytes;
  claim.bytes = 0;
  serve();
}

// Lets the first in the line have what it wants. Whoever finds too little in its volume's share, or in the whole, keeps those who come after
// it from it; whoever has used up its own share keeps nobody.
bool PayloadBudget::serve_first(ConnectionShare& connection) {
  Claim& first = connection.line_.front();
  VolumeShare& volume = *connection.volume_;
  if (connection.held_ + first.wanted > connection_max(volume)) return false;
  if (volume.short_in_round_ == round_) return false;
  if (volume.held_ + first.wanted > volume_max()) {
    volume.short_in_round_ = round_;
    return false;
  }
  short_ = short_ || held_ + first.wanted > bytes_max_;
  if (short_) return false;
  leave_line(first);
  hold(connection, first, first.wanted);
  return true;
}

// One command of each line in turn, until nobody can go on. Who got nothing is first the next time.
void PayloadBudget::serve() {
  ++round_;
  short_ = false;
  IntrusiveList<ConnectionShare> still_waiting;
  while (!waiting_.empty()) {
    ConnectionShare& connection = waiting_.pop_front();
    if (!serve_first(connection)) still_waiting.push_back(connection);
    else if (!connection.line_.empty()) waiting_.push_back(connection);
  }
  while (!still_waiting.empty()) waiting_.push_back(still_waiting.pop_front());
}

}  // namespace holdfast::scsi
