#include "tools/holdfastd/keeper.h"

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "engine/operator_changes.h"

namespace holdfast::daemon {
namespace {

using coord::DefinitionState;
using coord::VolumeDefinition;

constexpr DurationNs kLookEvery = milliseconds(1'000);     // When nobody says that something changed.
constexpr DurationNs kWatchPause = milliseconds(50);
constexpr DurationNs kStepPause = milliseconds(100);       // Between looks at a volume that waits for others.
constexpr DurationNs kUndoPause = milliseconds(500);
constexpr DurationNs kTroublePause = milliseconds(1'000);
constexpr int kStepsMax = 64;                              // Of one go; then others have their turn.

// What may be decided on a register that is a second old: whatever undoes itself.
bool is_harmless(StepKind kind) {
  return kind == StepKind::rest || kind == StepKind::blocked || kind == StepKind::open || kind == StepKind::open_door || kind == StepKind::offer ||
         kind == StepKind::mark_ready;
}

}  // namespace

Keeper::Keeper(Clock& clock, NodeId self, Coordinator& coordinator, ClusterDirectory& directory, KeeperHost& host)
    : clock_(clock), self_(self), coordinator_(coordinator), directory_(directory), host_(host), pause_(clock), watch_pause_(clock),
      outside_(clock.executor()), scope_(clock.executor()) {}

void Keeper::start() {
  scope_.spawn(look_around());
  outside_.spawn(watch());
}

Task<void> Keeper::stop() {
  stopping_ = true;
  wake();
  co_await scope_.join();
}

void Keeper::wake() {
  woken_ = true;
  pause_.cancel();
  for (Timer* timer : std::set<Timer*>(waits_)) timer->cancel();
}

Task<void> Keeper::wait(DurationNs time) {
  Timer timer(clock_);
  waits_.insert(&timer);
  if (!stopping_) co_await timer.after(time);
  waits_.erase(&timer);
}

// A hint that comes at once; without it the next look comes a second later.
Task<void> Keeper::watch() {
  while (!stopping_) {
    co_await coordinator_.until_changed(std::string(coord::kChangesKey), changes_revision_);
    if (stopping_) co_return;
    wake();
    co_await watch_pause_.after(kWatchPause);
  }
}

Task<void> Keeper::look_around() {
  while (!stopping_) {
    woken_ = false;
    const std::string changes(coord::kChangesKey);
    auto entry = co_await coordinator_.get(changes);
    Result<coord::DefinitionList> list = fail(Errc::cancelled);
    if (entry) {
      changes_revision_ = entry->revision;
      auto listed = co_await coord::list_definitions(&directory_);
      list = std::move(listed);
    }
    const std::string trouble = !entry ? entry.error().text() : !list ? list.error().text() : std::string();
    if (trouble != coordinator_trouble_ && !trouble.empty()) log_warning("the coordinator cannot be read: " + trouble);
    if (trouble.empty() && !coordinator_trouble_.empty()) log_info("the coordinator is read");
    coordinator_trouble_ = trouble;
    if (list) {
      std::set<std::string> names;
      definitions_.clear();
      for (VolumeDefinition& definition : list->definitions) {
        names.insert(definition.name);
        definitions_[definition.name] = std::move(definition);
      }
      for (const std::string& name : host_.kept()) names.insert(name);
      for (const std::string& name : list->unreadable) names.erase(name);
      for (const std::string& name : names)
        if (under_way_.insert(name).second) scope_.spawn(keep(name));
    }
    if (!woken_ && !stopping_) co_await pause_.after(kLookEvery);
  }
}

bool Keeper::is_settled(const std::string& name, const Step& step) const {
  if (step.kind == StepKind::blocked) return true;
  if (step.kind != StepKind::rest) return false;
  const Facts& facts = facts_.at(name);
  if (!facts.definition) return true;
  if (facts.definition->state == DefinitionState::deleting || !facts.definition->find(self_)) return true;
  return facts.definition->state == DefinitionState::ready && facts.local.door;
}

Task<void> Keeper::keep(std::string name) {
  while (!stopping_) {
    const StepKind last = co_await settle(name);
    const bool resting = last == StepKind::rest && !is_settled(name, Step{});
    if (last == StepKind::rest && !resting) break;
    if (last == StepKind::blocked) break;
    co_await wait(resting ? kStepPause : kTroublePause);
  }
  facts_.erase(name);
  under_way_.erase(name);
}

// `blocked` when somebody has to help, `rest` when nothing is to be done now, and otherwise the step that went wrong.
Task<StepKind> Keeper::settle(std::string name) {
  StepKind kind = StepKind::rest;
  for (int steps = 0; steps < kStepsMax && !stopping_; ++steps) {
    auto step = co_await decide(name);
    if (!step) {
      note(name, step.error().text());
      co_return StepKind::look;
    }
    kind = step->kind;
    if (kind == StepKind::rest || kind == StepKind::blocked) {
      note(name, step->reason);
      break;
    }
    if (stopping_) break;
    auto done = co_await carry_out(*step, name);
    if (done) continue;
    note(name, done.error().text());
    const bool founding = facts_[name].definition && facts_[name].definition->founder == self_;
    if (founding && ends_creation(kind, done.error().code)) co_await tell_trouble(name, done.error());
    break;
  }
  co_return kind;
}

Task<Result<Step>> Keeper::decide(std::string name) {
  Facts facts;
  auto definition = co_await coord::read_definition(&coordinator_, name);
  if (definition) facts.definition = std::move(*definition);
  else if (definition.error().code != Errc::not_found) co_return fail(definition.error());
  auto look = co_await host_.look(name);
  facts.local = look.replica;
  facts_[name] = facts;
  const VolumeDefinition* wanted = facts.definition ? &*facts.definition : nullptr;
  if (look.view || !wanted) {
    Step step = next_step(self_, wanted, facts.local, look.view ? &*look.view : nullptr);
    if (is_harmless(step.kind)) co_return step;
  }
  std::optional<engine::Register> value;
  if (wanted) {
    auto read = co_await read_register(wanted->group);
    if (!read) co_return fail(read.error());
    value = std::move(*read);
  }
  co_return next_step(self_, wanted, facts.local, value ? &*value : nullptr);
}

Task<Result<std::optional<engine::Register>>> Keeper::read_register(Uuid group) {
  auto entry = co_await coordinator_.get(engine::register_key(group));
  if (!entry) co_return fail(entry.error());
  if (entry->revision == 0) co_return std::optional<engine::Register>();
  auto value = engine::decode_register(entry->value);
  if (!value) co_return fail(value.error());
  co_return std::optional<engine::Register>(std::move(*value));
}

Task<Result<void>> Keeper::carry_out(Step step, std::string name) {
  const Facts facts = facts_[name];
  const VolumeDefinition definition = facts.definition.value_or(VolumeDefinition{});
  const NodeId self = self_;
  Result<void> done;
  Change how;
  switch (step.kind) {
    case StepKind::rest:
    case StepKind::look:
    case StepKind::blocked: break;
    case StepKind::format: done = co_await host_.format(definition); break;
    case StepKind::mark_ready: done = host_.mark_ready(name); break;
    case StepKind::open: done = co_await host_.open(name); break;
    case StepKind::create_volume: done = co_await host_.create_volume(definition); break;
    case StepKind::open_door: done = co_await host_.open_door(definition); break;
    case StepKind::hand_over: done = co_await host_.hand_over(name); break;
    case StepKind::close: done = co_await host_.close(name); break;
    case StepKind::discard: done = co_await host_.discard(name); break;
    case StepKind::found: done = co_await found(definition, facts.local.incarnation); break;
    case StepKind::erase: done = co_await erase(definition); break;
    case StepKind::add_to_register:
    case StepKind::remove_from_register: done = co_await change_members(definition.group, step); break;
    case StepKind::publish:
      how = [self, incarnation = facts.local.incarnation](VolumeDefinition& d) {
        coord::MemberDefinition* mine = d.find(self);
        if (mine && mine->incarnation == Uuid{}) mine->incarnation = incarnation;
      };
      break;
    case StepKind::offer:
      how = [self, incarnation = facts.local.incarnation](VolumeDefinition& d) {
        coord::MemberDefinition* mine = d.find(self);
        if (mine && mine->incarnation == incarnation) mine->offered = true;
      };
      break;
    case StepKind::finish_creation:
      how = [](VolumeDefinition& d) {
        if (d.state == DefinitionState::creating) d.state = DefinitionState::ready;
        d.trouble.clear();
      };
      break;
    case StepKind::end_replacement:
      // Tried again when its outcome is unknown: the next one may have begun meanwhile, and is nobody's to end yet.
      how = [decided = definition.replacement](VolumeDefinition& d) {
        if (!d.replacement || d.replacement != decided) return;
        std::erase_if(d.members, [&](const coord::MemberDefinition& m) { return m.node == d.replacement->from; });
        d.replacement.reset();
      };
      break;
    case StepKind::leave:
      how = [self](VolumeDefinition& d) {
        if (d.state == DefinitionState::deleting) std::erase_if(d.members, [&](const coord::MemberDefinition& m) { return m.node == self; });
      };
      break;
  }
  if (how) {
    auto changed = co_await change(definition, how);
    done = std::move(changed);
  }
  co_return done;
}

Task<Result<void>> Keeper::change(VolumeDefinition definition, Change how) {
  const coord::DefinitionChange checked = [&definition, &how](VolumeDefinition& d) -> Result<void> {
    if (d.group != definition.group) return fail(Errc::not_found, "another volume has this name now");
    how(d);
    return {};
  };
  auto done = co_await coord::change_definition(&coordinator_, definition.name, checked);
  if (!done) co_return fail(done.error());
  co_return Result<void>{};
}

// Written once, when the first copy is known to the cluster; whoever finds it written by an earlier life of his goes on with it.
Task<Result<void>> Keeper::found(VolumeDefinition definition, Uuid incarnation) {
  engine::Register value = engine::first_register(definition.group, {{self_, incarnation}}, {definition.min_in_sync, definition.lease_ms});
  value.members.clear();
  for (const coord::MemberDefinition& member : definition.members) value.members.push_back(member.node);
  auto outcome = co_await coordinator_.compare_and_swap(engine::register_key(definition.group), 0, engine::encode_register(value));
  if (outcome.status == CasStatus::unknown) co_return fail(Errc::timed_out, "the coordinator did not confirm the register");
  co_return Result<void>{};
}

Task<Result<void>> Keeper::change_members(Uuid group, Step step) {
  const engine::RegisterChange how = [&step](engine::Register& value) {
    return step.kind == StepKind::add_to_register ? engine::add_member(value, step.node) : engine::remove_member(value, step.node);
  };
  auto done = co_await engine::change_register(&coordinator_, group, how);
  const Errc code = done ? Errc{} : done.error().code;
  if (code == Errc{} || code == Errc::exists || code == Errc::not_found) co_return Result<void>{};  // Somebody else was faster.
  co_return fail(done.error());
}

Task<Result<void>> Keeper::erase(VolumeDefinition definition) {
  const std::string key = engine::register_key(definition.group);
  auto entry = co_await coordinator_.get(key);
  if (!entry) co_return fail(entry.error());
  if (entry->revision != 0) {
    auto outcome = co_await directory_.erase(key, entry->revision);
    if (outcome.status != CasStatus::applied) co_return fail(Errc::timed_out, "the coordinator did not confirm that the register is gone");
  }
  auto done = co_await coord::erase_definition(&coordinator_, &directory_, definition.name, definition.group);
  co_return done;
}

// Whoever asked for the volume hears why there will be none.
Task<void> Keeper::tell_trouble(std::string name, Error error) {
  const auto known = facts_.find(name);
  if (known == facts_.end() || !known->second.definition || known->second.definition->state != DefinitionState::creating) co_return;
  const VolumeDefinition definition = *known->second.definition;
  const Change how = [text = error.text()](VolumeDefinition& d) {
    if (d.state == DefinitionState::creating) d.trouble = text;
  };
  auto told = co_await change(definition, how);
  if (!told) log_warning(concat("volume ", name, ": ", told.error().text()));
  // Whoever asked for it undoes it now; should that one be gone, it is tried again. Not to be cut short: this very change wakes the keeper.
  Timer moment(clock_);
  if (!stopping_) co_await moment.after(kUndoPause);
}

std::string Keeper::trouble(const std::string& name) const {
  const auto found = troubles_.find(name);
  return found == troubles_.end() ? std::string() : found->second;
}

void Keeper::note(const std::string& name, std::string trouble) {
  if (trouble == this->trouble(name)) return;
  if (!trouble.empty()) log_warning(concat("volume ", name, ": ", trouble));
  if (trouble.empty()) troubles_.erase(name);
  else troubles_[name] = std::move(trouble);
}

}  // namespace holdfast::daemon
