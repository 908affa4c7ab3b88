// The named readers of a group's log, as its records made them: a part of the state that all members have in common. It is as
// of lsn(), which may be ahead of what a checkpoint has applied; records up to there are not done again.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "snapshot/store_format.h"

namespace holdfast::snapshot {

class ConsumerTable {
 public:
  // Errors: corrupt.
  Result<void> load(const Superblock& from);
  void save(Superblock& into) const;

  std::span<const StoredConsumer> all() const { return consumers_; }
  const StoredConsumer* find(std::string_view name) const;
  bool is_full() const { return consumers_.size() >= kConsumersMax; }
  Lsn lsn() const { return lsn_; }

  // A record that was committed.
  void apply(const ConsumerChange& change, Lsn by);
  // Another copy's, as of the LSN.
  void replace(std::vector<StoredConsumer> consumers, Lsn as_of);

 private:
  std::vector<StoredConsumer> consumers_;
  Lsn lsn_;
};

// The payload of a consumer record. Errors: corrupt.
Result<ConsumerChange> decode_consumer_change(Bytes payload);
// A name that ends within its field, and has something in it.
bool is_sane(const StoredConsumer& consumer);

}  // namespace holdfast::snapshot
