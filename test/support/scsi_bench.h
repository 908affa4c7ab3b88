// A device server on a FakeVolume and initiators that talk to it without a transport: one call is one command.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "base/scope.h"
#include "scsi/device_server.h"
#include "scsi/nexus.h"
#include "scsi/payload.h"
#include "scsi/sense.h"
#include "test/support/fake_volume.h"

namespace holdfast::test {

class ManualExecutor final : public Executor {
 public:
  void post_remote(std::move_only_function<void()> job) override { job(); }
};
class ManualClock final : public Clock {
 public:
  using Clock::Clock;
  BootNs now() const override { return now_; }
  void advance(DurationNs by) {
    now_ = now_ + by;
    timers().fire(now_, executor());
  }

 private:
  BootNs now_{1'000'000'000};
};

using Octets = std::vector<std::byte>;
inline Octets octets(std::initializer_list<int> values) {
  Octets out;
  for (int v : values) out.push_back(std::byte(v));
  return out;
}

// One command as an initiator sees it.
struct Exchange {
  scsi::Command command;
  bool finished = false;
  scsi::Plan plan;

  scsi::Status status() const { return command.status; }
  unsigned sense_key() const { return std::to_integer<unsigned>(command.sense.bytes[2]) & 0x0f; }
  unsigned asc() const { return load_be<std::uint16_t>(&command.sense.bytes[12]); }
  Octets data() const {
    const std::size_t length = std::min<std::size_t>(command.data_in_bytes, command.expected_bytes);
    Octets out;
    for (std::size_t at = 0; at < length; at += scsi::kPieceBytes) {
      const Buffer& piece = at == 0 ? command.data_in : command.data_in_more[at / scsi::kPieceBytes - 1];
      const std::size_t bytes = std::min(length - at, piece.size());
      out.insert(out.end(), piece.data(), piece.data() + bytes);
    }
    return out;
  }
};

class ScsiBench {
 public:
  static constexpr std::uint64_t kBlocks = 65536;  // 256 MiB

  explicit ScsiBench(scsi::DeviceOptions options = {}, std::size_t pool_bytes = 32u << 20)
      : clock(executor), buffers(executor, pool_bytes), volume(executor, clock, buffers, BlockCount(kBlocks)),
        options_(std::move(options)), scope_(executor) {
    restart();
    a = login("iqn.2026-11.test:a", 1);
    b = login("iqn.2026-11.test:b", 2);
  }

  // A new device server on the same volume, as after a restart of the node. Every nexus is gone.
  void restart() {
    device.reset();
    device = scsi::make_device_server(volume, options_);
    a = b = nullptr;
  }
  // Logs in and takes the unit attention of a new nexus.
  scsi::Nexus* login(std::string name, int isid, std::uint16_t port = 1) {
    scsi::Nexus* nexus = device->attach(std::move(name), {std::byte{0x80}, {}, {}, {}, {}, std::byte(isid)}, port);
    while (!nexus->attentions.empty()) nexus->attentions.take();
    return nexus;
  }

  // Starts a command; it runs as far as it can.
  std::unique_ptr<Exchange> start(scsi::Nexus* nexus, Octets cdb, Octets out = {}, std::uint32_t in_bytes = 0,
                                  std::uint64_t lun = 0) {
    auto x = std::make_unique<Exchange>();
    x->command.nexus = nexus;
    x->command.lun = lun;
    std::copy(cdb.begin(), cdb.end(), x->command.cdb.begin());
    x->command.wants_write = !out.empty();
    x->command.wants_read = in_bytes > 0;
    x->command.expected_bytes = out.empty() ? in_bytes : static_cast<std::uint32_t>(out.size());
    x->plan = device->plan(x->command);
    if (!x->plan.execute) {
      x->finished = true;
      return x;
    }
    execute(*x, out);
    return x;
  }
  // Hands the planned data over and starts it.
  void execute(Exchange& x, const Octets& out) {
    give(x, out);
    scope_.spawn(run(device.get(), &x));
    turn();
  }
  std::unique_ptr<Exchange> send(scsi::Nexus* nexus, Octets cdb, Octets out = {}, std::uint32_t in_bytes = 0,
                                 std::uint64_t lun = 0) {
    auto x = start(nexus, std::move(cdb), std::move(out), in_bytes, lun);
    ENSURE(x->finished);
    return x;
  }
  void turn() {
    while (executor.run_one()) {
    }
  }

  ManualExecutor executor;
  ManualClock clock;
  BufferPool buffers;
  FakeVolume volume;
  std::unique_ptr<scsi::DeviceServer> device;
  scsi::Nexus* a = nullptr;
  scsi::Nexus* b = nullptr;

 private:
  static Task<void> run(scsi::DeviceServer* device, Exchange* x) {
    Task<void> task = device->execute(x->command);
    co_await std::move(task);
    x->finished = true;
  }
  // What the transport does: the planned bytes, in pieces.
  void give(Exchange& x, const Octets& out) {
    ENSURE(x.plan.data_out_bytes <= out.size());
    x.command.data_out_bytes = x.plan.data_out_bytes;
    for (std::uint32_t at = 0; at < x.plan.data_out_bytes; at += scsi::kPieceBytes) {
      const std::size_t bytes = std::min<std::size_t>(x.plan.data_out_bytes - at, scsi::kPieceBytes);
      Buffer piece = buffers.try_acquire(bytes);
      ENSURE(piece);
      std::memcpy(piece.data(), &out[at], bytes);
      scsi::payload_piece(x.command.data_out, x.command.data_out_more, at) = std::move(piece);
    }
  }

  scsi::DeviceOptions options_;
  Scope scope_;
};

// CDBs.
inline Octets cdb10(int code, std::uint64_t lba, std::uint64_t count, int flags = 0) {
  Octets c(10);
  c[0] = std::byte(code);
  c[1] = std::byte(flags);
  store_be<std::uint32_t>(&c[2], static_cast<std::uint32_t>(lba));
  store_be<std::uint16_t>(&c[7], static_cast<std::uint16_t>(count));
  return c;
}
inline Octets cdb16(int code, std::uint64_t lba, std::uint32_t count, int flags = 0) {
  Octets c(16);
  c[0] = std::byte(code);
  c[1] = std::byte(flags);
  store_be<std::uint64_t>(&c[2], lba);
  store_be<std::uint32_t>(&c[10], count);
  return c;
}
inline Octets compare_and_write(std::uint64_t lba, int count) {
  Octets c = cdb16(0x89, lba, 0);
  c[13] = std::byte(count);
  return c;
}
inline Octets blocks_of(int value, std::size_t count) { return Octets(count * kBlockBytes, std::byte(value)); }

}  // namespace holdfast::test
