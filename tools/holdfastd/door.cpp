#include "tools/holdfastd/door.h"

#include "scsi/device_server.h"
#include "tools/holdfastd/iscsi.h"

namespace holdfast::daemon {

struct Door::Impl {
  TargetBoard* board;
  std::string target_name;
  std::shared_ptr<scsi::Target> target;
};

Door::Door(ReactorThread& thread, Volume& volume, DoorOptions options) : impl_(std::make_unique<Impl>()) {
  TargetBoard& board = *options.board;
  scsi::TargetOptions target_options = board.options;
  target_options.volume = volume.identity().name;
  target_options.payload_budgets = thread.payload_budgets();
  io::Reactor& reactor = thread.reactor();
  impl_->board = &board;
  impl_->target = std::make_shared<scsi::Target>(target_options, scsi::make_device_server(volume, {}), board.table(), reactor,
                                                 reactor.clock(), reactor.buffers(), thread.random());
  impl_->target_name = impl_->target->name();
  scsi::TargetEntry entry;
  entry.name = impl_->target_name;
  entry.executor = &reactor;
  entry.target = impl_->target;
  entry.auth = target_auth(options.access);
  entry.portal_group = board.options.portal_group;
  entry.portals = options.portals;
  board.table().put(std::move(entry));
}

Door::~Door() { impl_->board->table().remove(impl_->target_name); }

std::size_t Door::sessions() const { return impl_->target->session_count(); }

Task<void> Door::close(DoorClosing closing, DurationNs patience) {
  impl_->board->table().remove(impl_->target_name);
  if (closing == DoorClosing::deleted) impl_->target->drop_all_sessions(scsi::DropReason::deleted);
  co_await impl_->target->end_sessions(patience);
}

Task<void> Door::settle() { return impl_->target->join(); }

}  // namespace holdfast::daemon
