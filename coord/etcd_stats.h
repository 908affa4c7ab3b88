// What the etcd coordinator has seen so far. Written by its own thread, readable from any.
#pragma once

#include <deque>
#include <string>

#include "base/counters.h"
#include "base/histogram.h"

namespace holdfast::coord {

struct EndpointStats {
  std::string url;
  Counter questions;         // Sent to it, or tried to.
  Counter failures;          // No answer, not in time, refused, or not to be believed.
  LatencyHistogram answers;  // What it answered in time.
};

struct EtcdStats {
  LatencyHistogram gets;     // With an answer.
  LatencyHistogram swaps;    // Applied or in conflict; erasures, too.
  Counter gets_failed;
  Counter swaps_applied;
  Counter swaps_in_conflict;
  Counter swaps_unknown;
  Counter hedges;            // Reads that were asked of another member as well, because the first one was slow.
  Counter refused_as_foreign;
  Counter authentications;
  Counter preferred;         // Index of the endpoint that answered last.
  Counter streams;           // Of changes, begun.
  Counter changes;           // Told by them.
  Counter streams_compacted; // Began before what is left: some changes were not told.
  Counter streams_behind;    // Given up because reads were ahead of them.
  std::deque<EndpointStats> endpoints;  // As configured; their number never changes.
};

}  // namespace holdfast::coord
