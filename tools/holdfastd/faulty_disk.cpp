#include "tools/holdfastd/faulty_disk.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "base/log.h"
#include "base/text.h"

namespace holdfast::daemon {
namespace {

constexpr DurationNs kLookInterval = milliseconds(10);
constexpr std::uint64_t kToldMax = 20;

constexpr std::string_view op_name(DiskOp op) {
  switch (op) {
    case DiskOp::read: return "read";
    case DiskOp::write: return "write";
    case DiskOp::sync: return "sync";
    case DiskOp::allocate: return "allocate";
    case DiskOp::punch: return "punch";
    case DiskOp::grow: return "grow";
  }
  return "request";
}

}  // namespace

FaultyDisk::FaultyDisk(Clock& clock, std::unique_ptr<Disk> below, std::string file)
    : Disk(below->executor()), clock_(&clock), file_(std::move(file)), below_(clock, std::move(below)) {}

void FaultyDisk::look() {
  const BootNs now = clock_->now();
  if (looked_ != BootNs{} && now - looked_ < kLookInterval) return;
  looked_ = now;
  std::ostringstream text;
  text << std::ifstream(file_).rdbuf();
  if (text.str() == rules_) return;
  rules_ = text.str();
  below_.clear();
  told_ = 0;
  const auto rules = io::parse_fault_rules(rules_);
  if (!rules) return log_error(concat("disk faults: ", rules.error().message));
  for (const io::FaultRule& rule : *rules) below_.inject(rule);
  log_warning(concat("disk faults: ", rules->size(), " rules from now on"));
}

void FaultyDisk::submit(DiskRequest& request) {
  look();
  // The waiter may be gone once it was submitted.
  const DiskOp op = request.op;
  const std::uint64_t offset = request.offset, length = request.length, hits = below_.hits();
  below_.submit(request);
  if (below_.hits() == hits || told_ == kToldMax) return;
  ++told_;
  log_warning(concat("disk fault: ", op_name(op), " of ", length, " bytes at ", offset));
}

}  // namespace holdfast::daemon
