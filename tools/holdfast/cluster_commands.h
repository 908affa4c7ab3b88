// Commands about clusters: nodes, members, who leads.
#pragma once

#include "tools/holdfast/commands.h"

namespace holdfast::cli {

struct MemberOptions {
  std::string volume;
  std::uint64_t node = 0, replacement = 0;
};
struct SwitchOptions {
  std::string volume;
  std::uint64_t candidate = 0;  // 0: whichever copy is in step.
  bool accepts_data_loss = false, others_are_fenced = false;  // Of a forced fail-over.
};
struct SetOptions {
  std::string volume;
  std::uint64_t min_in_sync = 0, lease_ms = 0;  // 0: as it is.
};

int node_list(Client& client, Output output);
int cluster_init(Client& client, Output output);
int cluster_take_over(Client& client, Output output);
int member_add(Client& client, Output output, const MemberOptions& options);
int member_remove(Client& client, Output output, const MemberOptions& options);
int member_replace(Client& client, Output output, const MemberOptions& options);
int member_renew(Client& client, Output output, const MemberOptions& options);
// Asked of the node that leads, wherever that is.
int switch_over(Client& client, Output output, const SwitchOptions& options);
// Asked of the candidate; without one, of the node that was asked.
int fail_over(Client& client, Output output, const SwitchOptions& options);
int drain(Client& client, Output output, std::uint64_t node);
int volume_set(Client& client, Output output, const SetOptions& options);

}  // namespace holdfast::cli
