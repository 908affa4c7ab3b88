// Initiators: each has one command under way, tries one path after the other, and tells the history what it did and saw.
// As a host with multipath it goes on over another path when one fails; unlike it, it never sends the same data twice, so
// that every value has one writer.
#pragma once

#include <vector>

#include "test/cluster/door.h"
#include "test/sim/random.h"

namespace holdfast::cluster {

struct ClientOptions {
  unsigned clients = 3;
  std::uint32_t volumes = 1;
  std::uint64_t volume_blocks = 512;
  std::uint64_t hot_blocks = 64;           // Most operations are at the front.
  std::uint32_t hot_percent = 60;
  std::uint32_t large_one_in = 12;
  std::uint64_t write_bytes_max = ~std::uint64_t{0};  // Then only reads: the log keeps what a member may miss.
  DurationNs patience_min = milliseconds(500);
  DurationNs patience_max = milliseconds(4'000);
  DurationNs think_max = milliseconds(20);
  DurationNs retry_delay = milliseconds(10);
  // Relative frequencies.
  std::uint32_t write = 50, read = 30, unmap = 4, write_same = 3, compare_and_write = 8;
  std::uint32_t or_write = 0;              // Into a chunk of its own behind the volume's blocks; half as many read it.
  std::uint32_t reserve = 0;               // Half as many read the reservations.
  bool asks = false;                       // Before it uses another path it asks there who is active; and now and then besides.

  // With the chunk that is ORed into.
  BlockCount capacity() const { return BlockCount(volume_blocks + (or_write > 0 ? kChunkBlocks : 0)); }
};

// How a client reaches nodes.
class ClientNetwork {
 public:
  virtual void send(NodeId to, const ExchangePtr& exchange) = 0;
  virtual void send(NodeId to, const InquiryPtr& inquiry) = 0;
  virtual std::size_t node_count() const = 0;
  virtual void answered(const Exchange& exchange, const ClientOp& op) = 0;

 protected:
  ~ClientNetwork() = default;
};

struct ClientCounters {
  std::uint64_t operations = 0, done = 0, refused = 0, unknown = 0, timed_out = 0, no_space = 0, miscompares = 0, path_changes = 0, views = 0;
};

class Clients {
 public:
  Clients(sim::SimWorld& world, ClientNetwork& network, History& history, ClientOptions options)
      : world_(&world), network_(&network), history_(&history), options_(options), host_(world), scope_(host_.executor()) {}
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  void start();
  void stop() { stopping_ = true; }
  bool stopped() const { return running_ == 0; }
  // One operation besides the others, tried once. It has ended when the history says so.
  ExchangePtr start_one(NodeId path, OpKind kind, std::uint32_t volume, BlockRange range);
  // Volumes that come and go: clients use them as well, as long as they are named here.
  std::vector<std::uint32_t>& guests() { return guests_; }
  // Reads every block of every volume, once.
  void start_reading_all();
  ClientOptions& options() { return options_; }
  const ClientCounters& counters() const { return counters_; }
  static std::string volume_name(std::uint32_t volume) { return volume == 0 ? "pg" : "wal" + std::to_string(volume); }

 private:
  struct Client {
    std::uint32_t number;
    NodeId path;
  };
  static Task<void> run(Clients* self, std::uint32_t number);
  static Task<void> run_one(Clients* self, NodeId path, ExchangePtr exchange);
  static Task<void> read_all(Clients* self);
  Task<ExchangePtr> operate(Client* client, ExchangePtr exchange);
  Task<void> compare_and_write(Client* client, ExchangePtr exchange);
  ExchangePtr draw(std::uint32_t client);
  bool draw_special(Exchange* exchange);
  Task<void> read_volume(Client* client, std::uint32_t volume);
  BlockRange draw_range();
  BlockRange draw_map_page();
  Task<void> ask(Client* client);
  void note(const Exchange& exchange);
  void choose_path(Client& client, const Exchange& exchange);
  DurationNs draw_up_to(DurationNs most) {
    return DurationNs{static_cast<std::int64_t>(world_->random().below(static_cast<std::uint64_t>(most.value) + 1))};
  }

  sim::SimWorld* world_;
  ClientNetwork* network_;
  History* history_;
  ClientOptions options_;
  std::vector<std::uint32_t> guests_;
  sim::SimHost host_;
  Scope scope_;
  bool stopping_ = false;
  std::size_t running_ = 0;
  std::uint64_t bytes_written_ = 0;
  NodeId preferred_{1};                // The path that worked last, as multipath's checkers would find it.
  ClientCounters counters_;
};

}  // namespace holdfast::cluster
