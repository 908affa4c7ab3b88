#include "snapshot/consumer_table.h"

#include <cstring>

#include "base/ensure.h"

namespace holdfast::snapshot {

bool is_sane(const StoredConsumer& consumer) {
  return consumer.name[0] != 0 && consumer.name[sizeof consumer.name - 1] == 0;
}

Result<void> ConsumerTable::load(const Superblock& from) {
  consumers_.clear();
  lsn_ = Lsn(from.consumers_lsn);
  for (const StoredConsumer& consumer : from.consumers) {
    if (consumer.name[0] == 0) continue;
    if (!is_sane(consumer) || find(consumer.name)) return fail(Errc::corrupt, "the superblock's consumers of the log contradict each other");
    consumers_.push_back(consumer);
  }
  return {};
}

void ConsumerTable::save(Superblock& into) const {
  ENSURE(consumers_.size() <= kConsumersMax);
  std::memset(into.consumers, 0, sizeof into.consumers);
  std::copy(consumers_.begin(), consumers_.end(), into.consumers);
  into.consumers_lsn = lsn_.value;
}

const StoredConsumer* ConsumerTable::find(std::string_view name) const {
  const auto found = std::find_if(consumers_.begin(), consumers_.end(), [&](const StoredConsumer& c) { return c.name == name; });
  return found == consumers_.end() ? nullptr : &*found;
}

void ConsumerTable::apply(const ConsumerChange& change, Lsn by) {
  if (by <= lsn_) return;  // Replayed.
  lsn_ = by;
  const std::string_view name = change.consumer.name;
  const auto found = std::find_if(consumers_.begin(), consumers_.end(), [&](const StoredConsumer& c) { return c.name == name; });
  if (change.removed != 0) {
    if (found != consumers_.end()) consumers_.erase(found);
  } else if (found != consumers_.end()) {
    *found = change.consumer;
  } else if (!is_full()) {  // Who logs a record keeps the bound; here nothing may be refused any more.
    consumers_.push_back(change.consumer);
  }
}

void ConsumerTable::replace(std::vector<StoredConsumer> consumers, Lsn as_of) {
  ENSURE(consumers.size() <= kConsumersMax);
  consumers_ = std::move(consumers);
  lsn_ = as_of;
}

Result<ConsumerChange> decode_consumer_change(Bytes payload) {
  ConsumerChange change;
  if (payload.size() < sizeof change) return fail(Errc::corrupt, "a record of a consumer is too short");
  std::memcpy(&change, payload.data(), sizeof change);
  if (!is_sane(change.consumer) || change.removed > 1) return fail(Errc::corrupt, "a record of a consumer makes no sense");
  return change;
}

}  // namespace holdfast::snapshot
