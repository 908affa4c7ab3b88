// holdfast: the operator's command line. Exit codes: commands.h.
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <iostream>

#include "admin/names.h"
#include "admin/size_text.h"
#include "tools/holdfast/client.h"
#include "tools/holdfast/cluster_commands.h"
#include "tools/holdfast/commands.h"
#include "tools/holdfast/completion.h"
#include "tools/holdfast/doctor/doctor.h"

namespace holdfast::cli {
namespace {

struct Arguments {
  std::string server = "http://127.0.0.1:9440";
  std::string token_file;
  bool json = false;
  CreateOptions create;
  DeleteOptions remove;
  std::string show_name;
  FollowOptions follow;
  DoctorOptions doctor;
  MemberOptions member;
  SwitchOptions lead;
  SetOptions settings;
  std::uint64_t drained = 0;
  bool watch = false;
  std::string shell = "bash";
  bool names_only = false;
};

CLI::Validator name_rule() {
  return CLI::Validator([](std::string& name) {
    const auto valid = admin::check_volume_name(name);
    return valid ? std::string() : valid.error().message.substr(6);  // Without "name: ".
  }, "", "name");
}

void size_option(CLI::App* command, const std::string& flag, std::uint64_t& out, Result<void> (*rule)(std::uint64_t),
                 const std::string& help, bool required) {
  auto* option = command->add_option_function<std::string>(
      flag,
      [&out, rule, flag](const std::string& text) {
        const auto size = admin::parse_size(text);
        if (!size) throw CLI::ValidationError(flag, size.error().message);
        if (const auto valid = rule(*size); !valid) throw CLI::ValidationError(flag, valid.error().message);
        out = *size;
      },
      help);
  option->type_name("SIZE");
  if (required) option->required();
}

std::string ask_terminal(const std::string& question) {
  std::cerr << question << std::flush;
  std::string typed;
  std::getline(std::cin, typed);
  return typed;
}

int connected(const Arguments& arguments, const std::function<int(Client&, Output)>& action) {
  const auto usage = [](const Error& error) {
    std::cerr << "holdfast: " << error.message << "\n";
    return static_cast<int>(kUsage);
  };
  auto url = parse_server_url(arguments.server);
  if (!url) return usage(Error(Errc::invalid_argument, "--server: " + url.error().message));
  auto token = read_token(arguments.token_file);
  if (!token) return usage(Error(Errc::invalid_argument, "--token-file: " + token.error().message));
  Client client(std::move(*url), std::move(*token));
  return action(client, Output{std::cout, std::cerr, arguments.json ? Format::json : Format::table});
}

void add_volume_commands(CLI::App& app, Arguments& arguments, int& code) {
  CLI::App* volume = app.add_subcommand("volume", "Create, list, show and delete volumes")->require_subcommand(1);
  CLI::App* create = volume->add_subcommand("create", "Create a volume; its target is served at once");
  create->add_option("name", arguments.create.name, "a-z, 0-9, '.' and '-', at most 63 characters")->required()->check(name_rule());
  size_option(create, "--size", arguments.create.size_bytes, admin::check_volume_size,
              "Size that hosts see, like 10GiB (thin: space is taken when written)", true);
  size_option(create, "--log-size", arguments.create.log_bytes, admin::check_log_size,
              "Size of the log, taken at once (default: store.log_size of the node)", false);
  create->add_option("--device", arguments.create.device, "Block device to use, all of it (default: a file in the data directory)");
  create->add_option("--replicas", arguments.create.replicas, "In a cluster: so many copies, each on another node (default: 3, or as many as there are nodes)")->check(CLI::Range(1, 5));
  create->add_option("--members", arguments.create.members, "In a cluster: the nodes that have them, like 1,2,3")->delimiter(',')->check(CLI::Range(1, 65535));
  create->add_option("--min-in-sync", arguments.create.min_in_sync, "Writes wait while fewer copies are in sync (default: 2 with 3 copies, otherwise 1)")->check(CLI::Range(1, 5));
  create->callback([&] {
    code = connected(arguments, [&](Client& client, Output output) { return volume_create(client, output, arguments.create); });
  });

  CLI::App* list = volume->add_subcommand("list", "List the volumes");
  list->add_flag("--names", arguments.names_only, "Only the names, one a line");
  list->callback([&] {
    code = connected(arguments, [&](Client& client, Output output) { return volume_list(client, output, arguments.names_only); });
  });

  CLI::App* show = volume->add_subcommand("show", "Everything about one volume");
  show->add_option("name", arguments.show_name, "The volume")->required();
  show->callback([&] {
    code = connected(arguments, [&](Client& client, Output output) { return volume_show(client, output, arguments.show_name); });
  });

  CLI::App* remove = volume->add_subcommand("delete", "Delete a volume and its data");
  remove->add_option("name", arguments.remove.name, "The volume")->required();
  remove->add_flag("--yes,-y", arguments.remove.confirmed, "Do not ask");
  remove->add_flag("--force", arguments.remove.force, "Also while hosts are attached: their sessions are dropped");
  remove->callback([&] {
    if (::isatty(STDIN_FILENO) && ::isatty(STDERR_FILENO)) arguments.remove.ask = ask_terminal;
    code = connected(arguments, [&](Client& client, Output output) { return volume_delete(client, output, arguments.remove); });
  });
}

void add_cluster_commands(CLI::App& app, Arguments& arguments, int& code) {
  const auto runs = [&](CLI::App* command, auto action) {
    command->callback([&code, &arguments, action] { code = connected(arguments, [&](Client& client, Output output) { return action(client, output); }); });
  };
  CLI::App* cluster = app.add_subcommand("cluster", "Set a cluster up")->require_subcommand(1);
  runs(cluster->add_subcommand("init", "Begin a new cluster on an etcd that has none yet: once"), cluster_init);
  runs(cluster->add_subcommand("take-over", "The etcd was restored from a snapshot, and the one before it is gone for good"), cluster_take_over);
  CLI::App* node = app.add_subcommand("node", "The cluster's nodes")->require_subcommand(1);
  runs(node->add_subcommand("list", "List the nodes; * is the one that answers"), node_list);

  CLI::App* member = app.add_subcommand("member", "Which nodes have copies of a volume")->require_subcommand(1);
  const auto about = [&](const char* name, const char* help) {
    CLI::App* command = member->add_subcommand(name, help);
    command->add_option("volume", arguments.member.volume, "The volume")->required()->check(name_rule());
    command->add_option("node", arguments.member.node, "The node's number")->required()->check(CLI::Range(1, 65535));
    return command;
  };
  MemberOptions* options = &arguments.member;
  runs(about("add", "Give the node a copy"), [options](Client& client, Output output) { return member_add(client, output, *options); });
  runs(about("remove", "Take the node's copy away"), [options](Client& client, Output output) { return member_remove(client, output, *options); });
  runs(about("renew", "Make the node's copy anew, after its disk was replaced"), [options](Client& client, Output output) { return member_renew(client, output, *options); });
  CLI::App* replace = about("replace", "Give another node a copy, and take this one's away once that is in sync");
  replace->add_option("replacement", arguments.member.replacement, "The other node's number")->required()->check(CLI::Range(1, 65535));
  runs(replace, [options](Client& client, Output output) { return member_replace(client, output, *options); });

  SwitchOptions* lead = &arguments.lead;
  CLI::App* switchover = app.add_subcommand("switchover", "Let another copy of a volume lead");
  switchover->add_option("volume", lead->volume, "The volume")->required()->check(name_rule());
  switchover->add_option("--candidate", lead->candidate, "The node that is to lead (default: any that is in sync)")->check(CLI::Range(1, 65535));
  runs(switchover, [lead](Client& client, Output output) { return switch_over(client, output, *lead); });
  CLI::App* failover = app.add_subcommand("failover", "Have a copy lead although others may have newer data: the last resort");
  failover->add_option("volume", lead->volume, "The volume")->required()->check(name_rule());
  failover->add_option("--candidate", lead->candidate, "The node that is to lead (default: the one that is asked)")->check(CLI::Range(1, 65535));
  failover->add_flag("--accept-data-loss", lead->accepts_data_loss, "What only the other copies have is lost")->required();
  failover->add_flag("--others-fenced", lead->others_are_fenced, "The other nodes are switched off: one that is only cut off would go on serving")->required();
  runs(failover, [lead](Client& client, Output output) { return fail_over(client, output, *lead); });
  CLI::App* drained = app.add_subcommand("drain", "Hand over every volume that a node leads, before it is stopped");
  drained->add_option("node", arguments.drained, "The node's number")->required()->check(CLI::Range(1, 65535));
  runs(drained, [number = &arguments.drained](Client& client, Output output) { return drain(client, output, *number); });
}

void add_set_command(CLI::App* volume, Arguments& arguments, int& code) {
  CLI::App* set = volume->add_subcommand("set", "Change what a replicated volume waits for");
  set->add_option("name", arguments.settings.volume, "The volume")->required()->check(name_rule());
  set->add_option("--min-in-sync", arguments.settings.min_in_sync, "Writes wait while fewer copies are in sync")->check(CLI::Range(1, 5));
  set->add_option("--lease-ms", arguments.settings.lease_ms, "How long a promise to the primary lasts")->check(CLI::Range(100, 3'600'000));
  set->callback([&] {
    code = connected(arguments, [&](Client& client, Output output) { return volume_set(client, output, arguments.settings); });
  });
}

CLI::Validator consumer_rule() {
  return CLI::Validator([](std::string& name) {
    const bool fine = !name.empty() && name.size() <= 63 && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_") == name.npos;
    return fine ? std::string() : std::string("1 to 63 of a-z, 0-9, '.', '-' and '_'");
  }, "", "consumer");
}

void add_log_commands(CLI::App& app, Arguments& arguments, int& code) {
  CLI::App* log = app.add_subcommand("log", "Follow a volume's log as a named consumer")->require_subcommand(1);
  FollowOptions& options = arguments.follow;
  const auto common = [&options](CLI::App* command) {
    command->add_option("--volume", options.volume, "Whose log (default: the only volume there is)")->check(name_rule());
  };
  const auto named = [&options](CLI::App* command) { command->add_option("--name", options.name, "The consumer")->required()->check(consumer_rule()); };
  CLI::App* follow = log->add_subcommand("follow", "Print each committed record, one a line, and confirm what was printed");
  common(follow);
  named(follow);
  follow->add_option("--from", options.from, "Where a consumer that is new begins")->check(CLI::IsMember({"oldest", "now"}))->capture_default_str();
  follow->add_option("--payload-dir", options.payload_directory, "Write each record's payload into this directory, as a file named by its LSN")->check(CLI::ExistingDirectory);
  follow->add_flag("--once", options.once, "End at the end of the log");
  follow->add_flag("--skip-gaps", options.skip_gaps, "Go on behind a gap instead of ending with code 5");
  follow->callback([&] {
    code = connected(arguments, [&](Client& client, Output output) { return log_follow(client, output, options); });
  });
  CLI::App* consumers = log->add_subcommand("consumers", "List the log's consumers: where they are, and what they lack");
  common(consumers);
  consumers->callback([&] {
    code = connected(arguments, [&](Client& client, Output output) { return log_consumers(client, output, options.volume); });
  });
  CLI::App* drop = log->add_subcommand("drop", "Forget a consumer and its position");
  common(drop);
  named(drop);
  drop->callback([&] {
    code = connected(arguments, [&](Client& client, Output output) { return log_drop(client, output, options.volume, options.name); });
  });
}

// Of the PostgreSQL host, not of a node: nobody is connected to.
void add_doctor_command(CLI::App& app, Arguments& arguments, int& code) {
  CLI::App* command = app.add_subcommand("doctor", "Look at this PostgreSQL host: what is wrong, and what to do");
  DoctorOptions& options = arguments.doctor;
  command->add_option("--volume", options.volume, "Only this one (default: all of Holdfast's)")->check(name_rule());
  command->add_option("--pgdata", options.databases, "A server's folder of data, besides those that are found");
  command->add_option("--lease-ms", options.limits.lease_ms, "The lease of the cluster that serves it")->check(CLI::Range(50, 3'600'000))->capture_default_str();
  command->add_option("--root", options.root, "Where the host's files are: a captured tree")->check(CLI::ExistingDirectory)->capture_default_str();
  command->add_flag("--all", options.verbose, "Also what is fine");
  command->callback([&] { code = doctor(Output{std::cout, std::cerr, arguments.json ? Format::json : Format::table}, options); });
}

int run(int count, char** words) {
  Arguments arguments;
  int code = kOk;
  CLI::App app("Holdfast: block volumes for databases", "holdfast");
  app.set_version_flag("--version", "holdfast " HOLDFAST_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--server", arguments.server, "Where the node's admin port is")->envname("HOLDFAST_SERVER")->capture_default_str();
  app.add_option("--token-file", arguments.token_file, "File with the node's admin token")->envname("HOLDFAST_TOKEN_FILE");
  app.add_flag("--json", arguments.json, "Print the node's answer as JSON");
  app.footer("Exit codes: 0 done, 1 refused by the node, 2 wrong usage, 3 node not reachable, 4 (status) a volume does not serve, 5 (log follow) a gap, 6 (doctor) something is wrong.");
  add_volume_commands(app, arguments, code);
  add_log_commands(app, arguments, code);
  add_cluster_commands(app, arguments, code);
  add_doctor_command(app, arguments, code);
  add_set_command(app.get_subcommand("volume"), arguments, code);
  CLI::App* status = app.add_subcommand("status", "The node and its volumes at a glance");
  status->add_flag("--watch", arguments.watch, "Again every second");
  status->callback([&] {
    code = connected(arguments, [&](Client& client, Output output) { return arguments.watch ? watch_status(client, output) : node_status(client, output); });
  });
  CLI::App* completion = app.add_subcommand("completion", "Print a completion script, to be sourced");
  completion->add_option("shell", arguments.shell, "bash")->check(CLI::IsMember({"bash"}));
  completion->callback([] { std::cout << bash_completion(); });
  try {
    app.parse(count, words);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  return code;
}

}  // namespace
}  // namespace holdfast::cli

int main(int count, char** words) { return holdfast::cli::run(count, words); }
