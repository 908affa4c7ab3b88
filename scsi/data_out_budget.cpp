#include "scsi/data_out_budget.h"

#include "base/ensure.h"

namespace holdfast::scsi {

bool DataOutBudget::try_take(Share& share, std::uint64_t bytes) {
  ENSURE(share.bytes == 0 && !share.linked());
  if (!line_.empty() || free_bytes_ < bytes) return false;
  free_bytes_ -= bytes;
  share.bytes = bytes;
  return true;
}

void DataOutBudget::wait(Share& share, std::uint64_t bytes, std::coroutine_handle<> waiter) {
  ENSURE(bytes <= kTransferBytesMax);
  share.wanted = bytes;
  share.waiter = waiter;
  line_.push_back(share);
}

void DataOutBudget::give_up(Share& share) {
  if (!share.linked()) return;
  share.unlink();
  executor_->post(share.waiter);
  serve();  // It may have been the first, and too large for what is free.
}

void DataOutBudget::release(Share& share) {
  free_bytes_ += share.bytes;
  share.bytes = 0;
  serve();
}

void DataOutBudget::serve() {
  while (!line_.empty() && line_.front().wanted <= free_bytes_) {
    Share& next = line_.pop_front();
    free_bytes_ -= next.wanted;
    next.bytes = next.wanted;
    executor_->post(next.waiter);
  }
}

}  // namespace holdfast::scsi
