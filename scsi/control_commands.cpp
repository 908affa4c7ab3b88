// Commands that tell about the logical unit or set its parameters. None of them is on the path of an I/O.
#include <algorithm>
#include <cstring>

#include "scsi/alua.h"
#include "scsi/limits.h"
#include "scsi/opcode_report.h"
#include "scsi/server.h"
#include "scsi/third_party_copy.h"

namespace holdfast::scsi {

// Parameter data, cut to the allocation length: a shorter answer is not an error.
Task<void> Server::reply(Command* command, std::vector<std::byte> bytes, std::uint64_t allocation_bytes) {
  const std::size_t length = std::min<std::uint64_t>({bytes.size(), allocation_bytes, kPieceBytes});
  if (length > 0) command->data_in = co_await acquire_work(command, length);
  if (length > 0 && !command->data_in) co_return finish(*command, without_memory(*command));
  command->data_in_bytes = static_cast<std::uint32_t>(length);
  command->transfer_bytes = length;
  if (length == 0) co_return;
  std::memcpy(command->data_in.data(), bytes.data(), length);
}

Task<void> Server::run_inquiry(Command* command) {
  const std::byte* cdb = command->cdb.data();
  const bool vital = (cdb_byte(cdb, 1) & 0x01) != 0;
  const std::uint8_t page = cdb_byte(cdb, 2);
  const LogicalUnit unit = unit_of(*command);
  const std::uint16_t allocation = load_be<std::uint16_t>(cdb + 3);
  if (!vital) {
    if (page != 0) co_return finish(*command, invalid_cdb(2));
    std::vector<std::byte> data = inquiry_standard(options_, unit);
    co_await reply(command, std::move(data), allocation);
    co_return;
  }
  auto data = inquiry_vpd(volume_, options_, unit, command->nexus->ports.target_port, page);
  if (!data) co_return finish(*command, invalid_cdb(2));
  co_await reply(command, std::move(*data), allocation);
}

Task<void> Server::run_request_sense(Command* command) {
  const bool descriptor = (command->cdb[1] & std::byte{0x01}) != std::byte{};
  SenseData data;
  if (unit_of(*command) == LogicalUnit::absent) {
    data = illegal(Asc::lun_not_supported).sense;
  } else if (!command->nexus->attentions.empty()) {
    data.key = SenseKey::unit_attention;
    data.asc = command->nexus->attentions.take();
  } else if (Verdict v = check_state(Needs::active); !v.ok()) {
    data = v.sense;
  }
  const Sense sense = encode_sense(data, descriptor ? SenseFormat::descriptor : SenseFormat::fixed);
  std::vector<std::byte> bytes(sense.bytes.begin(), sense.bytes.begin() + sense.length);
  co_await reply(command, std::move(bytes), cdb_byte(command->cdb.data(), 4));
}

// LUN 0, and the well-known unit where the report asks for such (SPC-4 §6.33).
Task<void> Server::run_report_luns(Command* command) {
  const std::byte* cdb = command->cdb.data();
  const std::uint32_t allocation = load_be<std::uint32_t>(cdb + 6);
  if (allocation < 16) co_return finish(*command, invalid_cdb(6));
  bool volume = false;
  bool well_known = false;
  switch (cdb_byte(cdb, 2)) {
    case 0x00: volume = true; break;
    case 0x01: well_known = true; break;
    case 0x02: volume = well_known = true; break;
    case 0x10:
    case 0x11:
    case 0x12: break;  // Administrative and subsidiary units: there are none.
    default: co_return finish(*command, invalid_cdb(2));
  }
  std::vector<std::byte> data(8);
  if (volume) data.resize(data.size() + 8);
  if (well_known) {
    data.resize(data.size() + 8);
    store_be<std::uint16_t>(&data[data.size() - 8], 0xc101);
  }
  store_be<std::uint32_t>(&data[0], static_cast<std::uint32_t>(data.size() - 8));
  co_await reply(command, std::move(data), allocation);
}

Task<void> Server::run_read_capacity(Command* command, Op op) {
  const std::uint64_t last = volume_.capacity().value - 1;
  if (op == Op::read_capacity_10) {
    std::vector<std::byte> data(8);
    store_be<std::uint32_t>(&data[0], static_cast<std::uint32_t>(std::min<std::uint64_t>(last, 0xffffffff)));
    store_be<std::uint32_t>(&data[4], kBlockBytes);
    co_await reply(command, std::move(data), 8);
    co_return;
  }
  std::vector<std::byte> data(32);
  store_be<std::uint64_t>(&data[0], last);
  store_be<std::uint32_t>(&data[8], kBlockBytes);
  data[14] = std::byte{0xc0};  // LBPME, LBPRZ
  co_await reply(command, std::move(data), load_be<std::uint32_t>(&command->cdb[10]));
}

Task<void> Server::run_mode_sense(Command* command) {
  const std::byte* cdb = command->cdb.data();
  ModeReply mode = mode_sense(mode_, volume_.capacity(), cdb);
  if (!mode.verdict.ok()) co_return finish(*command, mode.verdict);
  const bool six = cdb_byte(cdb, 0) == 0x1a;
  const std::uint64_t allocation = six ? cdb_byte(cdb, 4) : load_be<std::uint16_t>(cdb + 7);
  co_await reply(command, std::move(mode.bytes), allocation);
}

void Server::run_mode_select(Command* command) {
  const ModeSettings before = mode_;
  const Bytes list = command->data_out.bytes().first(command->data_out_bytes);
  finish(*command, mode_select(mode_, volume_.capacity(), command->cdb.data(), list));
  if (mode_ != before) establish_for_all(Asc::mode_parameters_changed, command->nexus);
}

Task<void> Server::run_log_sense(Command* command) {
  LogReply log = log_sense(counters_, options_, command->cdb.data());
  if (!log.verdict.ok()) co_return finish(*command, log.verdict);
  co_await reply(command, std::move(log.bytes), load_be<std::uint16_t>(&command->cdb[7]));
}

Task<void> Server::run_report_opcodes(Command* command) {
  OpcodeReport report = report_opcodes(command->cdb.data(), options_.alua == AluaMode::implicit_and_explicit);
  if (!report.verdict.ok()) co_return finish(*command, report.verdict);
  co_await reply(command, std::move(report.bytes), load_be<std::uint32_t>(&command->cdb[6]));
}

namespace {

// One wait for a confirmed view, shared by the flow that asks the cluster and the command that may give up first.
struct Confirmation {
  explicit Confirmation(Clock& clock) : timer(clock) {}
  Timer timer;
  std::optional<Result<ClusterView>> view;
};

Task<void> confirm(Volume* volume, std::shared_ptr<Confirmation> shared) {
  Result<ClusterView> view = co_await volume->confirmed_cluster_view();
  shared->view.emplace(std::move(view));
  shared->timer.cancel();
}

// A report that was given up leaves its confirmation behind, which may take as long as the cluster likes.
constexpr std::size_t kConfirmationsMax = 64;

}  // namespace

// Waits until the cluster's state is confirmed, or for `report_hold_ms`. Nothing: it was not, or the command was aborted.
Task<std::optional<ClusterView>> Server::confirmed_view(Command* command) {
  constexpr std::int64_t kLookMs = 100;  // How often an abort, or room for another confirmation, is noticed.
  auto shared = std::make_shared<Confirmation>(volume_.clock());
  const BootNs deadline = volume_.clock().now() + milliseconds(options_.report_hold_ms);
  bool asked = false;
  while (!shared->view && !command->aborted && volume_.clock().now() < deadline) {
    if (!asked && background_.running() < kConfirmationsMax) {
      background_.spawn(confirm(&volume_, shared));
      asked = true;
    }
    co_await shared->timer.after(milliseconds(kLookMs));
  }
  if (command->aborted || !shared->view || !shared->view->has_value()) co_return std::nullopt;
  co_return **shared->view;
}

// An unconfirmed answer would send the host the wrong way: the connection ends instead.
Task<void> Server::run_report_target_port_groups(Command* command) {
  const auto view = co_await confirmed_view(command);
  if (command->aborted) co_return;
  if (!view) {
    command->close_connection = true;
    co_return;
  }
  const std::byte* cdb = command->cdb.data();
  const unsigned format = cdb_byte(cdb, 1) >> 5;
  if (format > 1) co_return finish(*command, invalid_cdb(1, 7));
  std::vector<std::byte> data = report_target_port_groups(*view, format == 1 ? ReportFormat::extended : ReportFormat::length_only);
  // The attention would only make the host ask what it is told here; it would meet the next write, and cost it some milliseconds.
  command->nexus->attentions.withdraw(Asc::asymmetric_access_changed);
  co_await reply(command, std::move(data), load_be<std::uint32_t>(cdb + 6));
}

// Held while a take-over is pending; then it is so already, or it fails.
Task<void> Server::run_set_target_port_groups(Command* command) {
  const auto view = co_await confirmed_view(command);
  if (command->aborted) co_return;
  if (!view) co_return finish(*command, check(SenseKey::hardware_error, Asc::set_target_port_groups_failed));
  finish(*command, set_target_port_groups(*view, command->data_out.bytes().first(command->data_out_bytes)));
}

Task<void> Server::run_receive_copy_results(Command* command) {
  const std::byte* cdb = command->cdb.data();
  const CopyOutcome& copy = command->nexus->copy;
  std::vector<std::byte> data;
  if ((cdb_byte(cdb, 1) & 0x1f) == 0x03) {
    data = copy_operating_parameters();
  } else {
    if (!copy.known || copy.list_id != cdb_byte(cdb, 2)) co_return finish(*command, invalid_cdb(2));
    data = copy_status(copy);
  }
  co_await reply(command, std::move(data), load_be<std::uint32_t>(cdb + 10));
}

Task<void> Server::run_extended_copy(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  const auto page = inquiry_vpd(volume_, options_, LogicalUnit::volume, command->nexus->ports.target_port, 0x83);
  CopyRequest request =
      decode_extended_copy(command->data_out.bytes().first(command->data_out_bytes), volume_.capacity(), *page);
  if (!request.verdict.ok()) co_return finish(*command, request.verdict);
  CopyOutcome outcome{.known = request.keep_result, .list_id = request.list_id};
  std::uint64_t blocks = 0;
  for (const CopySegment& segment : request.segments) {
    const Verdict verdict = co_await copy_segment(command, segment.from, segment.to);
    if (!verdict.ok()) {
      finish(*command, verdict);
      outcome.failed = true;
      break;
    }
    ++outcome.segments;
    blocks += segment.from.count.value;
  }
  outcome.mib = static_cast<std::uint32_t>(blocks * kBlockBytes >> 20);
  command->nexus->copy = outcome;
}

Task<void> Server::run_control(Command* command, Op op) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (unit_of(*command) == LogicalUnit::volume) {
    if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  }
  switch (op) {
    case Op::inquiry: co_await run_inquiry(command); break;
    case Op::request_sense: co_await run_request_sense(command); break;
    case Op::report_luns: co_await run_report_luns(command); break;
    case Op::read_capacity_10:
    case Op::read_capacity_16: co_await run_read_capacity(command, op); break;
    case Op::mode_sense: co_await run_mode_sense(command); break;
    case Op::mode_select: run_mode_select(command); break;
    case Op::log_sense: co_await run_log_sense(command); break;
    case Op::report_opcodes: co_await run_report_opcodes(command); break;
    case Op::report_tmfs: {
      std::vector<std::byte> tmfs = report_tmfs(command->cdb.data());
      co_await reply(command, std::move(tmfs), load_be<std::uint32_t>(&command->cdb[6]));
      break;
    }
    case Op::report_target_port_groups: co_await run_report_target_port_groups(command); break;
    case Op::set_target_port_groups: co_await run_set_target_port_groups(command); break;
    case Op::receive_copy_results: co_await run_receive_copy_results(command); break;
    case Op::read_defect_10:
    case Op::read_defect_12: {  // The lists are empty: defects are the backing device's affair.
      const bool ten = op == Op::read_defect_10;
      std::vector<std::byte> none(ten ? 4 : 8);
      none[1] = ten ? command->cdb[2] & std::byte{0x1f} : command->cdb[1] & std::byte{0x1f};
      const std::uint64_t allocation =
          ten ? load_be<std::uint16_t>(&command->cdb[7]) : load_be<std::uint32_t>(&command->cdb[6]);
      co_await reply(command, std::move(none), allocation);
      break;
    }
    case Op::reserve:
    case Op::release: run_legacy_reservation(command, op); break;
    // GOOD, for there is nothing to do: the unit is always spinning and never removable. PRE-FETCH answers GOOD and not
    // CONDITION MET because no cache keeps the blocks for sure (SBC-3 §5.10).
    case Op::test_unit_ready:
    case Op::start_stop_unit:
    case Op::send_diagnostic:
    case Op::prevent_allow:
    case Op::prefetch: break;
    default: finish(*command, illegal(Asc::invalid_operation_code)); break;
  }
}

}  // namespace holdfast::scsi
