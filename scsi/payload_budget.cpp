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
  const bool comes_again = volume.refused_ == &connection && bytes >= volume.refused_bytes_;
  const std::uint64_t for_the_refused = volume.refused_ && !comes_again ? volume.refused_bytes_ : 0;
  const auto with_room_for_the_first = [bytes](bool waited_for) { return bytes + (waited_for ? kTransferBytesMax : 0); };
  if (connection.held_ + with_room_for_the_first(!connection.line_.empty()) > connection_max(volume)) return false;
  if (!has_room(volume, with_room_for_the_first(volume.short_in_round_ == round_) + for_the_refused)) {
    const bool it_could_come = for_the_refused > 0 && has_room(volume, for_the_refused);
    if (it_could_come && --volume.refused_patience_ == 0) volume.refused_ = nullptr;
    return false;
  }
  if (held_ + with_room_for_the_first(short_) > bytes_max_) return false;
  if (comes_again) volume.refused_ = nullptr;
  hold(connection, claim, bytes);
  return true;
}

// One at a time. It does not keep room from those in the lines: they come before whoever comes, and could wait for each other for ever.
void PayloadBudget::refuse(const ConnectionShare& connection, std::uint64_t bytes) {
  VolumeShare& volume = *connection.volume_;
  if (volume.refused_) return;
  volume.refused_ = &connection;
  volume.refused_bytes_ = bytes;
  volume.refused_patience_ = kRefusedPatience;
}

// In its share. What a volume has beyond its floor takes nothing of what the floors of the others may need.
bool PayloadBudget::has_room(const VolumeShare& volume, std::uint64_t bytes) const {
  if (volume.held_ + bytes > volume_max()) return false;
  if (volume.held_ + bytes <= kTransferBytesMax) return true;
  const std::uint64_t kept_free = unused_floors_ - volume.unused_floor() + bytes_max_ / 4;
  return held_ + bytes + kept_free <= bytes_max_;
}

void PayloadBudget::set_held(VolumeShare& volume, std::uint64_t bytes) {
  held_ += bytes - volume.held_;
  unused_floors_ -= volume.unused_floor();
  volume.held_ = bytes;
  unused_floors_ += volume.unused_floor();
}

void PayloadBudget::hold(ConnectionShare& connection, Claim& claim, std::uint64_t bytes) {
  claim.connection = &connection;
  claim.bytes = bytes;
  connection.held_ += bytes;
  set_held(*connection.volume_, connection.volume_->held_ + bytes);
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
  VolumeShare& volume = *claim.connection->volume_;
  claim.connection->held_ -= claim.bytes;
  set_held(volume, volume.held_ - claim.bytes);
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
  if (!has_room(volume, first.wanted)) {
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
