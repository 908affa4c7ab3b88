#include "test/torture/firewall.h"

#include "test/torture/failure.h"
#include "test/torture/process.h"

namespace holdfast::torture {
namespace {

template <class T>
std::string set_of(const std::vector<T>& items) {
  std::string out = "{ ";
  for (const T& item : items) {
    if (out.size() > 2) out += ", ";
    if constexpr (std::is_same_v<T, std::string>) out += item;
    else out += std::to_string(item);
  }
  return out + " }";
}

}  // namespace

Firewall::Firewall(const NetNamespace& where) : where_(where) {
  nft("table inet torture { chain incoming { type filter hook input priority 0; }; chain outgoing { type filter hook output priority 0; }; }");
}

void Firewall::nft(const std::string& command) const { must_run({"nft", command}, &where_); }

std::size_t Firewall::cut(const Cut& cut) {
  std::vector<Rule> rules;
  std::string script;
  const auto add = [&](const std::string& chain, const std::string& match) {
    const std::string counter = "c" + std::to_string(cuts_.size()) + "_" + std::to_string(rules.size());
    rules.push_back({counter, 0});
    // But not the resets themselves: they pass the same rules on their way out.
    const std::string verdict = cut.how == CutHow::drop ? "drop" : "meta l4proto tcp tcp flags & rst == 0 counter name " + counter + " reject with tcp reset";
    script += "add counter inet torture " + counter + "\n";
    script += "add rule inet torture " + chain + " " + match + (cut.how == CutHow::drop ? "counter name " + counter + " drop" : verdict) + "\n";
  };
  const auto add_way = [&](const std::string& chain, const std::string& interface, const std::string& peer_field) {
    std::string match = interface + " \"eth0\" ";
    if (!cut.peers.empty()) match += "ip " + peer_field + " " + set_of(cut.peers) + " ";
    if (cut.ports.empty()) return add(chain, match);
    for (const std::string end : {"sport", "dport"}) add(chain, match + "tcp " + end + " " + set_of(cut.ports) + " ");
  };
  if (cut.way != CutWay::outgoing) add_way("incoming", "iifname", "saddr");
  if (cut.way != CutWay::incoming) add_way("outgoing", "oifname", "daddr");
  nft(script);  // One transaction: nothing passes in between.
  in_force_ = true;
  cuts_.push_back(std::move(rules));
  return cuts_.size() - 1;
}

std::uint64_t Firewall::count(const std::string& counter) const {
  const std::string said = must_run({"nft", "list counter inet torture " + counter}, &where_);
  const std::size_t at = said.find("packets ");
  require(at != said.npos, "nft does not tell a counter: " + said);
  return std::stoull(said.substr(at + 8));
}

std::uint64_t Firewall::hits(std::size_t number) const {
  std::uint64_t sum = 0;
  for (const Rule& rule : cuts_.at(number)) sum += rule.counter.empty() ? rule.counted : count(rule.counter);
  return sum;
}

void Firewall::heal() {
  if (!in_force_) return;
  nft("flush table inet torture");
  for (auto& rules : cuts_)
    for (Rule& rule : rules) {
      if (rule.counter.empty()) continue;
      rule.counted = count(rule.counter);
      nft("delete counter inet torture " + rule.counter);
      rule.counter.clear();
    }
  in_force_ = false;
}

}  // namespace holdfast::torture
