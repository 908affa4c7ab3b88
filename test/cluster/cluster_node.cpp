#include "test/cluster/cluster_node.h"

#include "test/crash/real_store.h"

namespace holdfast::cluster {
namespace {

constexpr std::size_t kPoolBytes = 16 << 20;

}  // namespace

ClusterNode::ClusterNode(World around, NodeId id)
    : around_(around), id_(id), host_(around.world), disk_(host_, 0), connector_(&around.network.add(id, host_)) {}

ClusterNode::~ClusterNode() {
  if (is_up()) die(Death::killed);
}

void ClusterNode::begin_life(std::size_t pool_bytes) {
  ENSURE(!is_up());
  ++lives_;
  restart_at.reset();
  port_ = around_.coordinator.open_port(id_, host_);
  process_ = std::make_unique<crash::Process>(host_, disk_, crash::kRealStore, pool_bytes, crash::Wiring{port_.get(), connector_});
  door_ = std::make_unique<Door>(around_.owner, id_, *process_);
  around_.network.process_started(id_, process_->pool());
}

void ClusterNode::start_format(FormatOptions options, Group::Existing existing) {
  begin_life(kPoolBytes);
  identified_ = false;
  process_->start_format(options, existing);
  state_ = State::formatting;
}

void ClusterNode::start(GroupOptions options) {
  begin_life(kPoolBytes);
  process_->start_open(std::move(options));
  state_ = State::opening;
}

Task<void> ClusterNode::identify(ClusterNode* self) {
  auto identity = co_await Group::identify(self->process_->ports());
  if (!identity) co_return self->set_failed(identity.error());
  self->incarnation_ = identity->incarnation;
  self->identified_ = true;
}

void ClusterNode::set_failed(const Error& error) {
  state_ = State::failed;
  failure_ = error.text();
  failure_code_ = error.code;
}

bool ClusterNode::poll() {
  if (state_ == State::formatting) {
    if (identified_) {
      state_ = State::formatted;
      return true;
    }
    if (!process_->formatted) return false;
    const Result<void> done = *std::exchange(process_->formatted, std::nullopt);
    if (done) process_->scope().spawn(identify(this));
    else set_failed(done.error());
    return !done;
  }
  if (state_ != State::opening || !process_->opened) return false;
  if (!*process_->opened) {
    set_failed(process_->opened->error());
    return true;
  }
  state_ = State::open;
  around_.network.listen(id_, [this](NodeId from, std::unique_ptr<Link> link) { process_->group()->accept(from, std::move(link)); });
  return true;
}

void ClusterNode::die(Death how) {
  ENSURE(is_up());
  // The network is told before the frames that hold links unwind; the door's clients hear of it, or not, first of all.
  if (how == Death::killed) door_->drop_all(Errc::closed);
  around_.network.process_died(id_, how == Death::killed ? sim::SimNetwork::Death::killed : sim::SimNetwork::Death::power_loss);
  process_->die(how);
  process_.reset();
  door_.reset();
  port_.reset();
  state_ = State::down;
}

}  // namespace holdfast::cluster
