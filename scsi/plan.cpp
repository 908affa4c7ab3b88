// What each command asks to transfer, checked against the volume, the limits and what the initiator announced (EDTL).
#include <algorithm>

#include "scsi/limits.h"
#include "scsi/server.h"

namespace holdfast::scsi {
namespace {

// Data that the initiator will send: nothing without the W bit.
std::uint32_t announced_bytes(const Command& command) { return command.wants_write ? command.expected_bytes : 0; }

// 0E/03: the transport's idea of the data contradicts the CDB's.
Verdict length_mismatch() { return illegal(Asc::invalid_field_in_information_unit); }

std::uint32_t blocks_max(Op op) {
  switch (op) {
    case Op::write_atomic: return kAtomicBlocksMax;
    case Op::compare_and_write: return kCompareBlocksMax;
    case Op::write_same: return kWriteSameBlocksMax;
    default: return kTransferBlocksMax;
  }
}

// Memory that it takes beside its data: here, or in the volume on its behalf.
std::uint32_t work_bytes(Op op, const Command& command, std::uint32_t data_out_bytes) {
  const std::uint64_t blocks = parse_blocks(command.cdb.data()).count.value;
  const auto piece = static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks * kBlockBytes, kPieceBytes));
  const bool part_of_block = data_out_bytes % kBlockBytes > 0;
  const std::uint32_t merge = part_of_block ? 2 * kBlockBytes : 0;
  switch (op) {
    case Op::write:
    case Op::write_atomic: return merge;
    case Op::write_verify: return std::max(piece, merge);
    case Op::verify: return piece;
    case Op::or_write: return part_of_block ? piece : 0;
    case Op::write_same: return data_out_bytes > 0 ? piece : 0;
    case Op::extended_copy: return kPieceBytes;
    default: return 0;
  }
}

}  // namespace

Plan Server::plan_other_unit(Command& command, LogicalUnit unit) const {
  const Lookup found = look_up(command);
  const bool known = unit == LogicalUnit::report_luns;
  if (!found.entry) return refuse(command, known ? found.verdict : illegal(Asc::lun_not_supported));
  const Op op = found.entry->op;
  const bool answered = op == Op::inquiry || op == Op::report_luns || op == Op::request_sense ||
                        (known && op == Op::test_unit_ready);
  if (!answered) return refuse(command, illegal(known ? Asc::invalid_operation_code : Asc::lun_not_supported));
  if (Verdict v = check_usage(*found.entry, command.cdb.data()); !v.ok()) return refuse(command, v);
  return plan_command(command, *found.entry);
}

// What the initiator does send is processed, even a part of a block, and the rest is a residual overflow: the choice of
// FCP-4 §9.4.2 a), which iSCSI initiators expect. Without any data to come the command is good and does nothing.
Plan Server::plan_blocks_out(Command& command, std::uint64_t wanted_bytes) const {
  const std::uint32_t announced = announced_bytes(command);
  if (command.wants_read && !command.wants_write && command.expected_bytes > 0 && wanted_bytes > 0) {
    const Plan plan = refuse(command, length_mismatch());
    command.transfer_bytes = wanted_bytes;
    return plan;
  }
  command.transfer_bytes = wanted_bytes;
  return Plan{.data_out_bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(announced, wanted_bytes))};
}

// All or nothing: half a parameter list means nothing.
Plan Server::plan_parameters(Command& command, std::uint32_t list_bytes) const {
  if (announced_bytes(command) < list_bytes) {
    const Plan plan = refuse(command, length_mismatch());
    command.transfer_bytes = list_bytes;
    return plan;
  }
  command.transfer_bytes = list_bytes;
  return Plan{.data_out_bytes = list_bytes};
}

Verdict Server::check_blocks(const Command& command, const BlockCdb& cdb, const OpcodeEntry& entry) const {
  if (!range_fits({cdb.first, cdb.count}, volume_.capacity()))
    return check_at(SenseKey::illegal_request, Asc::lba_out_of_range, cdb.first.value);
  const bool moves_data = entry.op != Op::verify || byte_check(command.cdb.data()) == ByteCheck::compare;
  if (moves_data && cdb.count.value > blocks_max(entry.op)) return invalid_cdb(cdb.length_at);
  if (entry.op == Op::write_same && cdb.count.value == 0) return invalid_cdb(cdb.length_at);  // WSNZ
  if (entry.op == Op::write_atomic && load_be<std::uint16_t>(&command.cdb[10]) != 0) return invalid_cdb(10);
  const bool checks = entry.op == Op::verify || entry.op == Op::write_verify;
  if (checks && byte_check(command.cdb.data()) == ByteCheck::reserved) return invalid_cdb(1, 2);
  if (entry.op == Op::write_verify && byte_check(command.cdb.data()) == ByteCheck::compare_one) return invalid_cdb(1, 2);
  return go_on();
}

Plan Server::plan_command(Command& command, const OpcodeEntry& entry) const {
  Plan plan = plan_transfer(command, entry);
  if (plan.execute) plan.work_bytes = work_bytes(entry.op, command, plan.data_out_bytes);
  return plan;
}

Plan Server::plan_transfer(Command& command, const OpcodeEntry& entry) const {
  const std::byte* cdb = command.cdb.data();
  const BlockCdb blocks = parse_blocks(cdb);
  const std::uint64_t block_bytes = blocks.count.value * kBlockBytes;
  switch (entry.op) {
    case Op::read:
      if (Verdict v = check_blocks(command, blocks, entry); !v.ok()) return refuse(command, v);
      command.transfer_bytes = block_bytes;
      command.data_in_bytes = static_cast<std::uint32_t>(block_bytes);
      return {};
    case Op::write:
    case Op::write_atomic:
    case Op::write_verify:
    case Op::or_write:
      if (Verdict v = check_blocks(command, blocks, entry); !v.ok()) return refuse(command, v);
      // Atomic means all of it.
      if (entry.op == Op::write_atomic) return plan_parameters(command, static_cast<std::uint32_t>(block_bytes));
      return plan_blocks_out(command, block_bytes);
    case Op::verify:
      if (Verdict v = check_blocks(command, blocks, entry); !v.ok()) return refuse(command, v);
      switch (byte_check(cdb)) {
        case ByteCheck::compare: return plan_blocks_out(command, block_bytes);
        case ByteCheck::compare_one: return plan_parameters(command, blocks.count.value > 0 ? kBlockBytes : 0);
        default: return {};
      }
    case Op::compare_and_write:
      if (Verdict v = check_blocks(command, blocks, entry); !v.ok()) return refuse(command, v);
      // 256 blocks wrap to zero in the CDB's one byte: whoever sends data along must not hear that it compared equal.
      if (blocks.count.value == 0 && announced_bytes(command) > 0) return refuse(command, invalid_cdb(13));
      return plan_parameters(command, static_cast<std::uint32_t>(2 * block_bytes));
    case Op::write_same: {
      if (Verdict v = check_blocks(command, blocks, entry); !v.ok()) return refuse(command, v);
      const bool no_data = cdb_byte(cdb, 0) == 0x93 && (cdb_byte(cdb, 1) & 0x01) != 0;
      return plan_parameters(command, no_data ? 0 : kBlockBytes);
    }
    case Op::prefetch:
    case Op::synchronize_cache:
      if (!range_fits({blocks.first, blocks.count}, volume_.capacity()))
        return refuse(command, check_at(SenseKey::illegal_request, Asc::lba_out_of_range, blocks.first.value));
      return {};
    case Op::get_lba_status:
      if (blocks.first.value >= volume_.capacity().value)
        return refuse(command, check_at(SenseKey::illegal_request, Asc::lba_out_of_range, blocks.first.value));
      return {};
    case Op::unmap: return plan_parameters(command, load_be<std::uint16_t>(cdb + 7));
    case Op::mode_select:
      return plan_parameters(command, cdb_byte(cdb, 0) == 0x15 ? cdb_byte(cdb, 4) : load_be<std::uint16_t>(cdb + 7));
    case Op::pr_out: {
      const std::uint32_t list = load_be<std::uint32_t>(cdb + 5);
      if (list > kParameterBytesMax) return refuse(command, invalid_cdb(5));
      return plan_parameters(command, list);
    }
    case Op::extended_copy: {
      const std::uint32_t list = load_be<std::uint32_t>(cdb + 10);
      if (list > kParameterBytesMax) return refuse(command, illegal(Asc::parameter_list_length_error));
      return plan_parameters(command, list);
    }
    case Op::set_target_port_groups: {
      const std::uint32_t list = load_be<std::uint32_t>(cdb + 6);
      if (list > kParameterBytesMax) return refuse(command, invalid_cdb(6));
      return plan_parameters(command, list);
    }
    case Op::send_diagnostic:
      if (load_be<std::uint16_t>(cdb + 3) != 0) return refuse(command, invalid_cdb(3));
      return {};
    case Op::start_stop_unit: {
      const bool load_or_eject = (cdb_byte(cdb, 4) & 0x02) != 0;
      const unsigned power_condition = cdb_byte(cdb, 4) >> 4;
      if (load_or_eject) return refuse(command, invalid_cdb(4, 1));
      if (power_condition > 1 || cdb_byte(cdb, 3) != 0) return refuse(command, invalid_cdb(4, 7));
      return {};
    }
    default: return {};
  }
}

}  // namespace holdfast::scsi
