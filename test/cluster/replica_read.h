// Reads what one copy has committed, whatever its role: for tests alone, past the door and the lease.
#pragma once

#include <string>

#include "engine/group_impl.h"

namespace holdfast::cluster {

template <class G>
concept ReadsLocally = requires(G& group, std::string name, BlockRange range, Buffer into) { group.read_local(name, range, into); };

inline constexpr bool kReplicasReadable = ReadsLocally<engine::GroupImpl>;

template <class G>
Task<Result<void>> read_replica_of(G* group, std::string volume, BlockRange range, Buffer into) {
  if constexpr (ReadsLocally<G>) {
    auto done = co_await group->read_local(volume, range, into);
    co_return done;
  } else {
    Volume* found = group->find(volume);
    if (!found) co_return fail(Errc::not_found);
    auto done = co_await found->read(range, into);
    co_return done;
  }
}

inline Task<Result<void>> read_replica(Group* group, std::string volume, BlockRange range, Buffer into) {
  return read_replica_of(static_cast<engine::GroupImpl*>(group), std::move(volume), range, std::move(into));
}

}  // namespace holdfast::cluster
