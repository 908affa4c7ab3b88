#include "tools/holdfastd/config_parts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "admin/names.h"

namespace holdfast::daemon {
namespace {

constexpr std::size_t kListMax = 64;

}  // namespace

Result<FileText> read_file(const std::string& path, std::size_t bytes_max) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(Errc::io_error, "cannot open " + admin::printable(path) + ": " + std::strerror(errno));
  FileText out;
  struct stat about{};
  if (::fstat(fd, &about) == 0) out.mode = about.st_mode;
  std::array<char, 4096> piece;
  ssize_t count = 0;
  while ((count = ::read(fd, piece.data(), piece.size())) > 0 && out.text.size() <= bytes_max) {
    out.text.append(piece.data(), static_cast<std::size_t>(count));
  }
  const int error = errno;
  ::close(fd);
  if (count < 0) return fail(Errc::io_error, "cannot read " + admin::printable(path) + ": " + std::strerror(error));
  if (out.text.size() > bytes_max) {
    return fail(Errc::invalid_argument, admin::printable(path) + " has more than " + std::to_string(bytes_max) + " bytes");
  }
  return out;
}

std::string beside(const std::string& file, const std::string& path) {
  const std::size_t slash = file.rfind('/');
  if (path.starts_with('/') || slash == file.npos) return path;
  return file.substr(0, slash + 1) + path;
}

void secret_file(TomlSection& section, std::string_view key, std::string& out, std::size_t bytes_max) {
  std::string path;
  section.text(key, path);
  if (path.empty()) return;
  auto file = read_file(beside(section.file(), path), bytes_max + 2);
  if (!file) return section.error(key, file.error().message);
  if (file->mode & (S_IRWXG | S_IRWXO) & ~static_cast<mode_t>(S_IRGRP)) {
    return section.error(key, admin::printable(path) + " can be read or changed by others; run chmod 600 on it");
  }
  while (!file->text.empty() && (file->text.back() == '\n' || file->text.back() == '\r')) file->text.pop_back();
  if (file->text.empty()) return section.error(key, admin::printable(path) + " is empty");
  if (file->text.find('\n') != std::string::npos) {
    return section.error(key, admin::printable(path) + " has more than one line");
  }
  out = std::move(file->text);
}

void path_text(TomlSection& section, std::string_view key, std::string& out) {
  std::string path;
  section.text(key, path);
  if (!path.empty()) out = beside(section.file(), path);
}

void read_addresses(TomlSection& section, std::string_view key, PortRule port, std::vector<Address>& out) {
  if (!section.has(key)) {
    section.texts(key, kListMax, [](const std::string&) { return std::string(); });  // Known, though absent.
    return;
  }
  out.clear();
  section.texts(key, kListMax, [&](const std::string& text) {
    auto address = parse_address(text, port);
    if (!address) return address.error().message;
    if (std::ranges::find(out, *address) != out.end() && address->port != 0) return "\"" + text + "\" is there twice";
    if (key == "portals" && address->is_any()) return "\"" + text + "\" is no address that an initiator could reach";
    out.push_back(std::move(*address));
    return std::string();
  });
}

}  // namespace holdfast::daemon
