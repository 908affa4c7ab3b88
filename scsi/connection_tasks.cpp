// The pool of tasks, how a task ends, and task management.
//
// An abort is honest: tasks that have not reached the volume end at once; those that have are waited for before the
// function is answered, so that nothing of them takes effect afterwards. Tasks that have their answer in the send queue
// count as finished: the answer leaves before the function's own.
#include <algorithm>

#include "scsi/connection.h"
#include "scsi/target.h"

namespace holdfast::scsi {

IscsiTask* Connection::find_task(std::uint32_t itt) {
  if (itt == kNoTag) return nullptr;
  const auto found = std::ranges::find(itts_, itt);
  return found == itts_.end() ? nullptr : tasks_[static_cast<std::size_t>(found - itts_.begin())].get();
}

IscsiTask* Connection::new_task(const Header& header) {
  if (free_tasks_.empty()) {
    ENSURE(tasks_.size() < kTasksMax);  // The command window and the check of immediate commands see to that.
    tasks_.push_back(std::make_unique<IscsiTask>());
    tasks_.back()->slot = static_cast<std::uint16_t>(tasks_.size() - 1);
    itts_.push_back(kNoTag);
    free_tasks_.push_back(tasks_.back().get());
  }
  IscsiTask& task = *free_tasks_.back();
  free_tasks_.pop_back();
  task.state = State::receiving;
  task.immediate = header.immediate();
  task.itt = header.itt();
  task.cmd_sn = header.cmd_sn();
  itts_[task.slot] = task.itt;
  arrivals_.push_back(task);
  ++(task.immediate ? immediate_count_ : task_count_);

  Command& command = task.command;
  command.nexus = nexus_;
  command.lun = header.lun();
  std::copy_n(header.raw.begin() + 32, 16, command.cdb.begin());
  const std::uint8_t attribute = header.flags() & 7;
  command.attribute = attribute <= 4 ? static_cast<TaskAttribute>(attribute) : TaskAttribute::simple;
  if (command.attribute == TaskAttribute::ordered) ++ordered_count_;
  command.expected_bytes = header.u32(20);
  command.wants_read = (header.flags() & 0x40) != 0;
  command.wants_write = (header.flags() & 0x20) != 0;
  return &task;
}

void Connection::release_data_out(IscsiTask& task) {
  task.command.data_out = {};
  for (Buffer& piece : task.command.data_out_more) piece = {};
  target_->payload_budgets_->data_out.release(task.data_out_claim);
}

// The one place where a task ends.
void Connection::end_task(IscsiTask& task) {
  ENSURE(task.state != State::unused);
  task.SendItem::unlink();
  task.ListNode<IscsiTask, ArrivalTag>::unlink();
  if (rx_task_ == &task) {
    rx_task_ = nullptr;
    rx_refused_ = true;
  }
  release_data_out(task);
  if (task.state == State::waiting_turn) --waiting_turn_count_;
  if (task.state != State::responding && task.command.attribute == TaskAttribute::ordered) --ordered_count_;
  --(task.immediate ? immediate_count_ : task_count_);
  itts_[task.slot] = kNoTag;
  const bool aborted = task.command.aborted;

  task.state = State::unused;
  task.execute = task.unsolicited_open = task.data_failed = task.changes = false;
  task.role_mark = task.abort_sequence = 0;
  task.work_bytes = task.planned = task.received = task.burst_received = task.solicited = 0;
  task.data_sn = task.r2t_sn = task.r2t_count = task.read_bytes_bidi = 0;
  task.sent = task.data_in_sn = 0;
  task.data_due_for = {};
  task.command = Command{};
  target_->payload_budgets_->data_in.release(task.data_in_claim);
  free_tasks_.push_back(&task);
  room_.notify_all();
  start_waiting();
  if (aborted) {
    target_->counters_.aborted.add();
    target_->aborted_task_ended();
  }
}

void Connection::abort_task(IscsiTask& task, std::uint64_t sequence) {
  if (task.state == State::responding) return;
  if (task.command.aborted) {
    // A later function waits for what an earlier one aborted, too: aborting() compares with ≤.
    return;
  }
  task.command.aborted = true;
  task.abort_sequence = sequence;
  if (task.state == State::waiting_memory) {  // What gathers ends it.
    target_->payload_budgets_->data_out.give_up(task.data_out_claim);
    target_->payload_budgets_->data_in.give_up(task.data_in_claim);
  }
  if (task.state == State::receiving || task.state == State::waiting_turn) end_task(task);
}

std::size_t Connection::abort_tasks(Which which, std::uint64_t sequence) {
  constexpr std::byte kPersistentReserveOut{0x5f};
  constexpr std::byte kPreemptAndAbort{0x05};
  std::size_t count = 0;
  for (const auto& task : tasks_) {
    if (task->state == State::unused) continue;
    if (task->state == State::responding) {
      // A lost connection sends no answers.
      if (closing_) end_task(*task);
      continue;
    }
    const auto& cdb = task->command.cdb;
    if (which == Which::all_but_preempt && cdb[0] == kPersistentReserveOut && (cdb[1] & std::byte{0x1f}) == kPreemptAndAbort)
      continue;
    abort_task(*task, sequence);
    ++count;
  }
  return count;
}

bool Connection::aborting(std::uint64_t sequence) const {
  return std::ranges::any_of(tasks_, [&](const auto& task) {
    return task->state != State::unused && task->command.aborted && task->abort_sequence <= sequence;
  });
}

// ABORT TASK (§11.5.1 and §11.6.1).
TaskFunctionResponse Connection::abort_one(const Header& header, std::uint64_t sequence) {
  IscsiTask* task = find_task(header.ttt());  // The referenced task tag is where others have the transfer tag.
  const bool same_unit = task && (task->command.lun == header.lun() ||
                                  (is_lun_zero(task->command.lun) && is_lun_zero(header.lun())));
  if (same_unit && task->state != State::responding) {
    abort_task(*task, sequence);
    return TaskFunctionResponse::complete;
  }
  return TaskFunctionResponse::no_such_task;
}

Connection::Flow Connection::on_task_management(const Header& header) {
  using Response = TaskFunctionResponse;
  const auto function = static_cast<TaskFunction>(header.flags() & 0x7f);
  const std::uint64_t sequence = target_->next_abort_sequence();
  Response response = Response::complete;
  const bool about_lun = function == TaskFunction::abort_task_set || function == TaskFunction::clear_task_set ||
                         function == TaskFunction::logical_unit_reset;
  if (about_lun && !is_lun_zero(header.lun())) {
    response = Response::no_such_lun;
  } else if (functions_waiting_ >= kTaskFunctionsMax) {
    response = Response::rejected;
  } else {
    switch (function) {
      case TaskFunction::abort_task: response = abort_one(header, sequence); break;
      case TaskFunction::abort_task_set: abort_tasks(Which::all, sequence); break;
      case TaskFunction::clear_task_set: target_->abort_everywhere(*this, sequence, Target::Tell::victims); break;
      case TaskFunction::logical_unit_reset:
      case TaskFunction::target_warm_reset:
      case TaskFunction::target_cold_reset:
        target_->abort_everywhere(*this, sequence, Target::Tell::nobody);
        break;
      case TaskFunction::task_reassign: response = Response::reassignment_not_supported; break;
      case TaskFunction::clear_aca:  // NormACA is 0: there is never one to clear.
      default: response = Response::not_supported; break;
    }
  }
  if (response == Response::complete) {
    ++functions_waiting_;
    scope_.spawn(answer_task_management(header.itt(), sequence, function));
    return Flow::go_on;
  }
  SinglePdu* answer = take_single(0);
  if (!answer) return Flow::close;
  answer->header = response_header(Opcode::task_management_response, 0x80, header.itt()).set8(2, static_cast<std::uint8_t>(response));
  send(answer);
  return Flow::go_on;
}

// The answer's PDU is taken when it is due: those that waited with it for the volume would keep everything else from being read.
Task<void> Connection::answer_task_management(std::uint32_t itt, std::uint64_t sequence, TaskFunction function) {
  co_await target_->aborts_ended(sequence);
  DeviceServer& server = *target_->server_;
  switch (function) {
    case TaskFunction::logical_unit_reset: server.logical_unit_reset(nexus_); break;
    case TaskFunction::target_warm_reset: server.target_reset(nexus_, false); break;
    case TaskFunction::target_cold_reset: server.target_reset(nexus_, true); break;
    default: break;
  }
  SinglePdu* answer = nullptr;
  while (!closing_ && !(answer = take_single())) co_await room_.wait();
  --functions_waiting_;
  if (closing_) co_return;
  answer->header = response_header(Opcode::task_management_response, 0x80, itt);
  const bool cold = function == TaskFunction::target_cold_reset;
  if (cold) {
    answer->close_after = true;
    logging_out_ = true;
  }
  send(answer);
  if (cold) target_->drop_others(this);
}

}  // namespace holdfast::scsi
