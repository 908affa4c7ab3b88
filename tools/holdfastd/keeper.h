// Keeps this node's part of every replicated volume as its definition says (keeper_step.h decides, the host carries out). One flow
// looks for changes; one flow a volume goes from step to step. Everything on the control thread.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/cluster_directory.h"
#include "base/scope.h"
#include "tools/holdfastd/keeper_step.h"

namespace holdfast::daemon {

// What a node can do with its copies. Each is durable when it returns.
class KeeperHost {
 public:
  virtual ~KeeperHost() = default;
  // Replicated volumes of which this node's registry knows.
  virtual std::vector<std::string> kept() const = 0;
  // And the register as its group has read it last.
  struct Look {
    LocalReplica replica;
    std::optional<engine::Register> view;
  };
  virtual Task<Look> look(std::string name) = 0;
  virtual Task<Result<void>> format(coord::VolumeDefinition definition) = 0;
  virtual Result<void> mark_ready(const std::string& name) = 0;
  virtual Task<Result<void>> open(std::string name) = 0;
  virtual Task<Result<void>> create_volume(coord::VolumeDefinition definition) = 0;
  virtual Task<Result<void>> open_door(coord::VolumeDefinition definition) = 0;
  virtual Task<Result<void>> hand_over(std::string name) = 0;
  virtual Task<Result<void>> close(std::string name) = 0;
  virtual Task<Result<void>> discard(std::string name) = 0;
};

class Keeper {
 public:
  Keeper(Clock& clock, NodeId self, Coordinator& coordinator, ClusterDirectory& directory, KeeperHost& host);

  void start();
  // Returns when nothing of it is under way.
  Task<void> stop();
  // Somebody has changed something: look now.
  void wake();

  // As last read; empty before.
  const std::map<std::string, coord::VolumeDefinition>& definitions() const { return definitions_; }
  // What is in the way of a volume's next step, for people; empty: nothing.
  std::string trouble(const std::string& name) const;
  // Why the coordinator could not be read last; empty: it could.
  const std::string& coordinator_trouble() const { return coordinator_trouble_; }

  // Goes step by step until nothing is left to do just now. For tests; the flows do the same.
  Task<StepKind> settle(std::string name);

 private:
  Task<void> look_around();
  Task<void> watch();
  Task<void> keep(std::string name);
  Task<void> wait(DurationNs time);
  Task<Result<Step>> decide(std::string name);
  Task<Result<void>> carry_out(Step step, std::string name);
  using Change = std::function<void(coord::VolumeDefinition&)>;
  Task<Result<void>> change(coord::VolumeDefinition definition, Change how);
  Task<Result<void>> found(coord::VolumeDefinition definition, Uuid incarnation);
  Task<Result<void>> change_members(Uuid group, Step step);
  Task<Result<void>> erase(coord::VolumeDefinition definition);
  Task<Result<std::optional<engine::Register>>> read_register(Uuid group);
  Task<void> tell_trouble(std::string name, Error error);
  void note(const std::string& name, std::string trouble);
  bool is_settled(const std::string& name, const Step& step) const;

  // What the next step was decided from.
  struct Facts {
    std::optional<coord::VolumeDefinition> definition;
    LocalReplica local;
  };

  Clock& clock_;
  NodeId self_;
  Coordinator& coordinator_;
  ClusterDirectory& directory_;
  KeeperHost& host_;
  std::map<std::string, coord::VolumeDefinition> definitions_;
  std::map<std::string, std::string> troubles_;
  std::map<std::string, Facts> facts_;    // Of volumes that are under way.
  std::set<std::string> under_way_;
  std::string coordinator_trouble_ = "it has not been read yet";
  std::uint64_t changes_revision_ = 0;
  bool stopping_ = false;
  bool woken_ = false;
  Timer pause_;                           // Of the look around.
  Timer watch_pause_;
  std::set<Timer*> waits_;                // Of volumes that wait for something to happen.
  Scope outside_;                         // Waits for the coordinator, perhaps for long; ends where it stands.
  Scope scope_;                           // Last: its frames refer to everything above.
};

}  // namespace holdfast::daemon
