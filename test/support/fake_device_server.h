// A device server of one small disk that a test can stop in the midst of a command. It notes every effect.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "scsi/command.h"
#include "scsi/nexus.h"
#include "scsi/payload.h"

namespace holdfast::test {

// Opcodes: 00 TEST UNIT READY, 28 READ (10), 2a WRITE (10); anything else is 05/20/00. Blocks of 512 bytes.
class FakeDeviceServer final : public scsi::DeviceServer {
 public:
  static constexpr std::uint32_t kBlockBytes = 512;

  FakeDeviceServer(Executor& executor, Clock& clock, BufferPool& pool, std::size_t disk_bytes = 8 << 20)
      : clock_(&clock), pool_(&pool), gate_(executor), disk_(disk_bytes, '\0') {}

  // While held, commands wait at the volume before their effect.
  void hold(bool held) {
    held_ = held;
    gate_.notify_all();
  }
  std::size_t waiting() const { return waiting_; }

  scsi::Plan plan(scsi::Command& command) override {
    ++planned;
    scsi::Plan plan;
    const unsigned opcode = std::to_integer<unsigned>(command.cdb[0]);
    const std::uint64_t bytes = std::uint64_t{blocks(command)} * kBlockBytes;
    const bool outside = bytes > scsi::kTransferBytesMax || first(command) > disk_.size() / kBlockBytes ||
                         std::uint64_t{first(command)} * kBlockBytes + bytes > disk_.size();
    if ((opcode == 0x28 || opcode == 0x2a) && outside) {
      refuse(command, 0x21);
      plan.execute = false;
    } else if (opcode == 0x2a) {
      command.transfer_bytes = bytes;
      plan.data_out_bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, command.expected_bytes));
      plan.changes = true;
      plan.work_bytes = write_work_bytes;
    } else if (opcode != 0x00 && opcode != 0x28 && opcode != 0xa4) {
      refuse(command, 0x20);
      plan.execute = false;
    }
    return plan;
  }

  Task<void> execute(scsi::Command& command) override {
    const unsigned opcode = std::to_integer<unsigned>(command.cdb[0]);
    const std::uint32_t read_bytes = opcode == 0x28 ? blocks(command) * kBlockBytes : 0;
    ++waiting_;
    if (read_bytes > 0) {
      const bool got =
          co_await scsi::acquire_payload(clock_, pool_, read_bytes, &command.data_in, &command.data_in_more, &command.aborted);
      if (!got) {
        --waiting_;
        command.status = scsi::Status::task_set_full;
        co_return;
      }
    }
    while (held_) co_await gate_.wait();
    --waiting_;
    if (standby) {
      refuse(command, 0x04);
      command.sense.bytes[2] = std::byte{2};
      command.sense.bytes[13] = std::byte{0x0b};
      co_return;
    }
    order.push_back(std::to_integer<unsigned>(command.cdb[0]) << 16 | first(command));
    if (opcode == 0x2a && !(give_up_aborted && command.aborted)) write(command);
    if (opcode == 0x28) {
      const std::uint32_t bytes = read_bytes;
      for (std::uint32_t at = 0; at < bytes; at += scsi::kPieceBytes)
        std::memcpy(scsi::payload_piece(command.data_in, command.data_in_more, at).data(),
                    &disk_[std::size_t{first(command)} * kBlockBytes + at], std::min<std::size_t>(bytes - at, scsi::kPieceBytes));
      command.data_in_bytes = bytes;
    }
    command.close_connection = close_connections;
  }

  scsi::Nexus* attach(std::string initiator, std::array<std::byte, 6> isid, std::uint16_t port) override {
    nexuses.push_back(std::make_unique<scsi::Nexus>(scsi::PortPair{std::move(initiator), isid, port}));
    events.push_back("attach");
    return nexuses.back().get();
  }
  void detach(scsi::Nexus* nexus) override {
    std::erase_if(nexuses, [&](const auto& one) { return one.get() == nexus; });
    events.push_back("detach");
  }
  void leaves(scsi::Nexus* nexus, scsi::SessionEnd how) override {
    if (!std::exchange(nexus->leaves, true)) ++left, lost += how == scsi::SessionEnd::lost;
  }
  void logical_unit_reset(scsi::Nexus*) override { events.push_back("lun reset"); }
  void target_reset(scsi::Nexus*, bool cold) override { events.push_back(cold ? "cold reset" : "warm reset"); }
  void commands_cleared(scsi::Nexus*) override { events.push_back("commands cleared"); }
  void on_abort_tasks(std::function<void(scsi::Nexus*)> hook) override { abort_nexus = std::move(hook); }
  void on_service_change(std::function<void(scsi::ServiceChange)> hook) override { change_service = std::move(hook); }
  void initiator_heard(BootNs when) override { ++heard, heard_at = std::max(heard_at, when); }
  Task<void> settle() override { co_return; }

  std::string& disk() { return disk_; }

  std::vector<std::string> events;
  std::vector<unsigned> order;                     // opcode << 16 | first block, as they took effect.
  std::vector<std::unique_ptr<scsi::Nexus>> nexuses;
  std::function<void(scsi::Nexus*)> abort_nexus;
  std::function<void(scsi::ServiceChange)> change_service;
  unsigned heard = 0;                              // Words of initiators.
  BootNs heard_at{};                               // When the newest of them was asked for.
  unsigned lost = 0;                               // Of those that left.
  unsigned left = 0;
  unsigned planned = 0;
  std::uint32_t write_work_bytes = 0;              // That a write takes beside its data.
  bool give_up_aborted = true;                     // As the real one does where it still can.
  bool close_connections = false;
  bool standby = false;                            // Commands fail as such.

 private:
  static std::uint32_t first(const scsi::Command& c) { return load_be<std::uint32_t>(&c.cdb[2]); }
  static std::uint32_t blocks(const scsi::Command& c) { return load_be<std::uint16_t>(&c.cdb[7]); }

  static void refuse(scsi::Command& command, std::uint8_t asc) {
    command.status = scsi::Status::check_condition;
    command.sense.bytes = {};
    command.sense.bytes[0] = std::byte{0x70};
    command.sense.bytes[2] = std::byte{5};
    command.sense.bytes[12] = std::byte{asc};
    command.sense.length = 18;
  }
  void write(scsi::Command& command) {
    for (std::uint32_t at = 0; at < command.data_out_bytes; at += scsi::kPieceBytes)
      std::memcpy(&disk_[std::size_t{first(command)} * kBlockBytes + at],
                  scsi::payload_piece(command.data_out, command.data_out_more, at).data(),
                  std::min<std::size_t>(command.data_out_bytes - at, scsi::kPieceBytes));
  }

  Clock* clock_;
  BufferPool* pool_;
  WaitList gate_;
  std::string disk_;
  bool held_ = false;
  std::size_t waiting_ = 0;
};

}  // namespace holdfast::test
