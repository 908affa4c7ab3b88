// A node that lives in a map: answers at once, or holds its answers until it is told to release them.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "engine/node.h"

namespace holdfast::admin {

class FakeNode : public NodeControl {
 public:
  bool hold = false;
  unsigned sessions = 0;

  void create_volume(CreateVolume request, Done<VolumeStatus> done) override {
    if (volumes_.contains(request.name)) return done(fail(Errc::exists, "name: there is a volume \"pg\" already"));
    if (full) return done(fail(Errc::no_space, "size: the log needs 256MiB and 1MiB are free"));
    VolumeStatus status;
    status.name = request.name;
    status.size_bytes = request.size_bytes;
    status.log_bytes = request.log_bytes;
    status.backing = request.device.empty() ? "/data/volumes/" + request.name + ".hf" : request.device;
    volumes_[request.name] = status;
    done(status);
  }
  void delete_volume(std::string name, bool force, Done<void> done) override {
    if (!volumes_.contains(name)) return done(fail(Errc::not_found, "name: there is no volume \"" + name + "\""));
    if (sessions > 0 && !force) return done(fail(Errc::busy, "name: 1 session is attached; log out, or force"));
    volumes_.erase(name);
    done({});
  }
  void volume_status(std::string name, Done<VolumeStatus> done) override {
    if (!volumes_.contains(name)) return done(fail(Errc::not_found, "name: there is no volume \"" + name + "\""));
    done(volumes_[name]);
  }
  void status(Done<NodeStatus> done) override {
    std::unique_lock lock(mutex_);
    if (hold) {
      held_.push_back(std::move(done));
      if (on_held) on_held();
      return;
    }
    done(node());
  }
  void consumers(std::string volume, Done<std::vector<ConsumerStatus>> done) override {
    if (!volumes_.contains(volume)) return done(fail(Errc::not_found, "name: there is no volume"));
    done(consumers_of);
  }
  void create_consumer(ConsumerName which, ConsumerStart start, Done<ConsumerStatus> done) override {
    ConsumerStatus made;
    made.name = which.consumer;
    made.confirmed = Lsn(start == ConsumerStart::now ? 9 : 0);
    consumers_of.push_back(made);
    done(made);
  }
  void drop_consumer(ConsumerName which, Done<void> done) override {
    const bool gone = std::erase_if(consumers_of, [&](const auto& c) { return c.name == which.consumer; }) > 0;
    if (gone) return done({});
    done(fail(Errc::not_found, "consumer: there is none"));
  }
  void confirm_consumer(ConsumerName which, Lsn lsn, Confirm, Done<void> done) override {
    for (ConsumerStatus& consumer : consumers_of)
      if (consumer.name == which.consumer) consumer.confirmed = lsn;
    done({});
  }
  void read_log(ReadLog request, Done<LogBatch> done) override {
    last_read = request;
    done(log);
  }
  void switch_over(Switchover order, Done<void> done) override {
    last_switchover = order;
    done(switch_over_answer);
  }
  void release() {
    std::unique_lock lock(mutex_);
    for (auto& done : held_) done(node());
    held_.clear();
  }

  VolumeStatus& volume(const std::string& name) {
    volumes_[name].name = name;
    return volumes_[name];
  }
  bool full = false;
  std::vector<ConsumerStatus> consumers_of;
  LogBatch log;
  ReadLog last_read;
  Switchover last_switchover;
  Result<void> switch_over_answer;
  std::optional<ClusterStatus> cluster_status;
  std::function<void()> on_held;

 private:
  NodeStatus node() const {
    NodeStatus out;
    out.name = "n1";
    out.version = "0.1.0";
    out.uptime_ms = 1500;
    out.reactors = 2;
    out.data_directory = "/data";
    out.portals = {"127.0.0.1:3260"};
    for (const auto& [name, status] : volumes_) out.volumes.push_back(status);
    out.cluster = cluster_status;
    return out;
  }
  std::mutex mutex_;
  std::vector<Done<NodeStatus>> held_;
  std::map<std::string, VolumeStatus> volumes_;
};

}  // namespace holdfast::admin
