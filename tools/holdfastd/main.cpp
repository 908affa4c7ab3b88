// holdfastd: one node of Holdfast. It stays in the foreground and logs to stderr; the supervisor does the rest.
#include <CLI/CLI.hpp>

#include <iostream>
#include <thread>

#include "admin/server.h"
#include "base/log.h"
#include "io/run_task.h"
#include "tools/holdfastd/logging.h"
#include "tools/holdfastd/node.h"
#include "tools/holdfastd/sd_notify.h"
#include "tools/holdfastd/signals.h"

namespace holdfast::daemon {
namespace {

// Part of the interface: docs/operators.md lists them.
enum ExitCode : int {
  kOk = 0,
  kFailed = 1,   // The node cannot start; the last line of the log says why. Or it was ended in the middle of its stop.
  kConfig = 78,  // The configuration is wrong (EX_CONFIG): starting again changes nothing.
};

constexpr std::int64_t kStopPatienceMs = 60'000;
constexpr std::int64_t kAdminGraceMs = 5'000;
constexpr std::size_t kControlBufferBytes = 4u << 20;

int report(const std::vector<ConfigError>& errors) {
  for (const ConfigError& error : errors) std::cerr << error.text() << "\n";
  std::cerr << "holdfastd: " << errors.size() << (errors.size() == 1 ? " mistake" : " mistakes") << " in the configuration\n";
  return kConfig;
}

int failed(const Error& error) {
  log_error("cannot start: " + error.text());
  return kFailed;
}

Task<void> wait_for(Event* event) { co_await event->wait(); }

// Tells the supervisor that every thread still turns.
struct Watchdog {
  Node& node;
  const ServiceNotifier& notifier;
  Timer timer;
  bool ending = false;
  Scope scope;

  Watchdog(io::Reactor& control, Node& n, const ServiceNotifier& s)
      : node(n), notifier(s), timer(control.clock()), scope(control) {
    if (notifier.watchdog_interval_ms() > 0) scope.spawn(feed(this));
  }
  static Task<void> feed(Watchdog* self) {
    while (!self->ending) {
      const Wake wake = co_await self->timer.after(milliseconds(self->notifier.watchdog_interval_ms()));
      if (wake == Wake::cancelled) co_return;
      co_await self->node.check_alive();
      self->notifier.watchdog();
    }
  }
  // A look at the threads may be under way: it comes home first.
  void stop(io::Reactor& control) {
    ending = true;
    timer.cancel();
    io::run_task(control, scope.join());
  }
};

std::string summary(const Node& node) {
  std::string out = "serving " + std::to_string(node.volume_count() - node.volumes_failed()) + " volumes";
  if (node.volumes_failed() > 0) out.append(", ").append(std::to_string(node.volumes_failed())).append(" failed");
  return out;
}

// Requests under way need the control thread: it turns while another one waits for them.
void stop_admin(io::Reactor& control, admin::Server& server) {
  Event stopped(control);
  std::thread stopper([&] {
    server.stop(kAdminGraceMs);
    control.post_remote([&stopped] { stopped.set(); });
  });
  io::run_task(control, wait_for(&stopped));
  stopper.join();
}

// Secrets and who may log in, from the configuration as it is now; with a mistake in it nothing changes. A token that was asked for is
// not given up: the port may be open to everybody.
void read_again(const std::string& path, Node& node, admin::Api api, bool has_token) {
  const auto loaded = load_config(path);
  if (!loaded) {
    for (const ConfigError& error : loaded.error()) log_error(error.text());
    log_error("the configuration has mistakes: everything stays as it was");
    return;
  }
  node.set_access(loaded->config.iscsi);
  const std::string& token = loaded->config.admin.token;
  if (!has_token || !token.empty()) api.set_token(token);
  else log_warning("admin.token_file is gone from the configuration: the token stays until the next start");
  log_info("the configuration was read again: who may log in, its secrets and the token count from now on, all else from the next start");
}

int serve(io::Reactor& control, Node& node, const std::string& path, const AdminConfig& config, const ServiceNotifier& notifier) {
  admin::ServerOptions options;
  options.address = config.listen.host;
  options.port = config.listen.port;
  const admin::Api api(node, {config.token});
  auto server = admin::Server::start(options, api);
  if (!server) {
    io::run_task(control, node.stop());
    return failed(server.error());
  }
  Event stop(control);
  SignalEvents events;
  events.read_again = [&control, &node, path, api, has_token = !config.token.empty()] {
    control.post_remote([&node, path, api, has_token] { read_again(path, node, api, has_token); });
  };
  events.stop = [&](int signal) {
    log_info(std::string("stopping (") + (signal == SIGINT ? "SIGINT" : "SIGTERM") + ")");
    control.post_remote([&stop] { stop.set(); });
  };
  watch_signals(std::move(events), kStopPatienceMs);
  node.set_admin_port((*server)->port());
  log_info("admin port: " + Address{config.listen.host, (*server)->port()}.text());
  log_info("ready: " + summary(node));
  notifier.ready(summary(node));
  Watchdog watchdog(control, node, notifier);
  io::run_task(control, wait_for(&stop));
  watchdog.stop(control);
  notifier.stopping("stopping");
  stop_admin(control, **server);
  io::run_task(control, node.stop());
  log_info("stopped");
  return kOk;
}

int run_node(const std::string& path, Config config) {
  const ServiceNotifier notifier = ServiceNotifier::from_environment();
  notifier.status("starting");
  log_info("holdfastd " HOLDFAST_VERSION ", node " + config.node.name + ", data in " + config.node.data_dir);
  auto directory = DataDirectory::open(config.node.data_dir);
  if (!directory) return failed(directory.error());
  auto registry = Registry::load(directory->path());
  if (!registry) return failed(registry.error());
  io::ReactorOptions options;
  options.buffer_bytes = kControlBufferBytes;
  auto control = io::Reactor::create(options);
  if (!control) return failed(control.error());
  const AdminConfig admin = config.admin;
  Node node(**control, std::move(config), std::move(*directory), std::move(*registry));
  const Result<void> started = io::run_task(**control, node.start());
  if (!started) return failed(started.error());
  return serve(**control, node, path, admin, notifier);
}

int run(int count, char** words) {
  std::string path;
  bool check_only = false;
  CLI::App app("Holdfast: one node", "holdfastd");
  app.set_version_flag("--version", "holdfastd " HOLDFAST_VERSION);
  app.add_option("--config", path, "The configuration file (docs/holdfast.toml.example)")->required();
  app.add_flag("--check-config", check_only, "Say what is wrong with the configuration, and end");
  app.footer("Exit codes: 0 stopped in order, 1 could not start, 2 wrong usage, 78 wrong configuration.");
  try {
    app.parse(count, words);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : 2;
  }
  auto loaded = load_config(path);
  if (!loaded) return report(loaded.error());
  if (check_only) {
    for (const ConfigError& warning : loaded->warnings) std::cerr << "warning: " << warning.text() << "\n";
    if (loaded->config.cluster) {
      const auto credentials = load_link_credentials(*loaded->config.cluster);
      if (!credentials) return report({ConfigError{path, 0, "", credentials.error().message}});
    }
    std::cout << path << " is fine\n";
    return kOk;
  }
  block_signals();
  start_logging(loaded->config.log);
  for (const ConfigError& warning : loaded->warnings) log_warning(warning.text());
  return run_node(path, std::move(loaded->config));
}

}  // namespace
}  // namespace holdfast::daemon

int main(int count, char** words) { return holdfast::daemon::run(count, words); }
