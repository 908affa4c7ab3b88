#include "test/torture/node.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/raw_connection.h"

namespace holdfast::torture {
namespace {

constexpr int kBacklog = 128;
constexpr std::size_t kLogTailBytes = 3'000;

std::string tail_of(const std::string& text) { return text.size() > kLogTailBytes ? text.substr(text.size() - kLogTailBytes) : text; }

sockaddr_in ipv4(const std::string& address, std::uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  require(::inet_pton(AF_INET, address.c_str(), &out.sin_addr) == 1, address + " is no address");
  return out;
}

}  // namespace

Node::Node(const Switch& hub, NodeOptions options) : options_(std::move(options)), machine_(hub, options_.number, options_.cable) {
  std::filesystem::create_directories(data_dir());
  if (options_.disk_bytes > 0) {
    const std::string image = options_.folder + "/disk";
    write_file(image, "");
    std::filesystem::resize_file(image, options_.disk_bytes);
    must_run({"mkfs.ext4", "-q", "-m", "0", image});
    must_run({"mount", "-o", "loop", image, data_dir()});  // In the run's own mount namespace; the loop device goes with it.
  }
  const std::string path = options_.folder + "/notify";
  notify_ = io::UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un here{};
  here.sun_family = AF_UNIX;
  require(path.size() < sizeof here.sun_path, path + " is too long for a socket");
  std::memcpy(here.sun_path, path.data(), path.size());
  require_call(::bind(notify_.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) == 0, path);
  listen();
}

// A stopped or frozen process would hold up its end.
Node::~Node() = default;

void Node::listen() {
  machine_.net().inside([this] {
    listener_ = io::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in here = ipv4(address(), kIscsiPort);
    require_call(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) == 0 && ::listen(listener_.get(), kBacklog) == 0,
                 "the iSCSI port of " + name());
  });
}

void Node::write_config() const {
  std::string text = "[node]\nname = \"" + name() + "\"\nreactors = 1\nmemory = \"64MiB\"\ndata_dir = \"" + data_dir() + "\"\n";
  text += "[iscsi]\nlisten = [\"" + address() + ":" + std::to_string(kIscsiPort) + "\"]\n" + options_.more_iscsi + "\n";
  text += "[admin]\nlisten = \"127.0.0.1:" + std::to_string(kAdminPort) + "\"\n";
  text += "[store]\nlog_size = \"16MiB\"\n" + options_.more_store + "\n";
  if (!options_.etcd.empty()) {
    const std::string secret = options_.folder + "/link.secret";
    write_file(secret, "a secret of the torture's own cluster, of no use elsewhere\n");
    ::chmod(secret.c_str(), 0600);
    text += "[cluster]\nname = \"torture\"\nnode = " + std::to_string(number()) + "\nlisten = [\"" + address() + ":" + std::to_string(kLinkPort) +
            "\"]\nsecret_file = \"" + secret + "\"\n" + options_.more_cluster + "\n[cluster.etcd]\nendpoints = [";
    for (const std::string& endpoint : options_.etcd) text += (endpoint == options_.etcd.front() ? "\"" : ", \"") + endpoint + "\"";
    text += "]\n";
  }
  write_file(config_file(), text);
}

std::string Node::log() const { return read_file(options_.folder + "/log"); }

std::uint64_t Node::log_lines(const std::string& text) const {
  std::istringstream lines(log());
  std::uint64_t count = 0;
  for (std::string line; std::getline(lines, line);) count += line.find(text) != line.npos ? 1 : 0;
  return count;
}

void Node::fail_disk(const std::string& rules) {
  const std::string file = options_.folder + "/faults";
  require(options_.faulty_disk, "the disk of " + name() + " is none that fails");
  write_file(file + ".new", rules);
  std::filesystem::rename(file + ".new", file);  // It is read at any time.
}

std::uint64_t Node::fill_disk() {
  const io::UniqueFd file(::open((data_dir() + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  require_call(file.get() >= 0, "no file to fill the disk with");
  std::uint64_t taken = 0;
  for (std::uint64_t piece = 64 << 20; piece >= kBlockBytes;) {
    if (::fallocate(file.get(), 0, static_cast<off_t>(taken), static_cast<off_t>(piece)) == 0) taken += piece;
    else piece /= 2;
  }
  return taken;
}

void Node::empty_disk() { require(std::filesystem::remove(data_dir() + "/filler"), "the disk was not full"); }

void Node::spawn() {
  require(!running(), name() + " runs already");
  write_config();
  char stale[4096];
  while (::recv(notify_.get(), stale, sizeof stale, MSG_DONTWAIT) > 0) {
  }
  ProcessOptions options;
  options.words = {HOLDFASTD, "--config", config_file()};
  options.environment = options_.environment;
  options.environment["NOTIFY_SOCKET"] = options_.folder + "/notify";
  if (options_.faulty_disk) options.environment["HOLDFAST_DISK_FAULTS"] = options_.folder + "/faults";
  options.where = &machine_.net();
  options.log = options_.folder + "/log";
  options.listening = {listener_.get()};
  process_ = std::make_unique<Process>(options);
}

void Node::await_ready(DurationNs patience) {
  const BootNs deadline = now() + patience;
  for (;;) {
    pollfd told{notify_.get(), POLLIN, 0};
    ::poll(&told, 1, 50);
    char message[4096];
    const ssize_t size = ::recv(notify_.get(), message, sizeof message, MSG_DONTWAIT);
    if (size > 0 && std::string_view(message, static_cast<std::size_t>(size)).find("READY=1") != std::string_view::npos) return;
    require(size > 0 || running(), name() + " ended while it started; its log:\n" + tail_of(log()));
    require(!is_over(deadline), name() + " is not ready in time; its log:\n" + tail_of(log()));
  }
}

Process& Node::process() {
  require(process_ != nullptr, name() + " was never started");
  return *process_;
}

void Node::stop(DurationNs patience) {
  process().signal(SIGTERM);
  const int how = process().wait(patience);
  require(how == 0, name() + " did not stop in order, but with " + std::to_string(how) + "; its log:\n" + tail_of(log()));
}

void Node::die_silently() {
  machine_.unplug();
  kill();
  listener_.reset();  // After the unplugging: nobody is told.
}

void Node::boot() {
  machine_.plug_in();
  listen();
}

Ran Node::holdfast(std::vector<std::string> words, DurationNs patience) const {
  words.insert(words.begin(), {HOLDFAST, "--server", "http://127.0.0.1:" + std::to_string(kAdminPort)});
  return run(words, &machine_.net(), patience);
}

std::string Node::must_post(const std::string& path, const std::string& body) const {
  const Answer answer = request("POST", path, body, milliseconds(60'000));
  require(answer.status >= 200 && answer.status < 300, name() + ": POST " + path + " " + body + " was answered with " + std::to_string(answer.status) + ": " + answer.body);
  return answer.body;
}

Node::Answer Node::request(const std::string& method, const std::string& path, const std::string& body, DurationNs how_long) const {
  std::string asked = method + " " + path + " HTTP/1.1\r\nHost: node\r\nConnection: close\r\n";
  if (!body.empty()) asked += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  return request_as_it_is(asked + "\r\n" + body, how_long);
}

Node::Answer Node::request_as_it_is(const std::string& text, DurationNs how_long) const {
  const Heard heard = say(machine_.net(), "127.0.0.1", kAdminPort, text, how_long);
  const std::size_t end = heard.bytes.find("\r\n\r\n");
  if (end == heard.bytes.npos || heard.bytes.size() < 12) return {};
  return {std::atoi(heard.bytes.c_str() + 9), heard.bytes.substr(end + 4)};
}

std::optional<boost::json::object> Node::volume(const std::string& name) const {
  const Answer answer = get("/v1/volumes/" + name);
  if (answer.status != 200) return std::nullopt;
  boost::system::error_code wrong;
  const boost::json::value value = boost::json::parse(answer.body, wrong);
  if (wrong || !value.is_object()) return std::nullopt;
  return value.as_object();
}

}  // namespace holdfast::torture
