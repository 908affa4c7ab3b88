// The file or block device of a store: creating, opening with the checks an operator needs, locking, removing.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "io/unique_fd.h"

namespace holdfast::io {

enum class BackingKind : std::uint8_t { file, block_device };

struct StoreFile {
  UniqueFd fd;
  BackingKind kind = BackingKind::file;
  std::uint64_t size_bytes = 0;
  bool direct = true;
};

// Opens for reading and writing, and locks: the lock goes with release_store_lock or the process. Errors: see UringDisk::open.
enum class PageCache : std::uint8_t { bypass, allow };
Result<StoreFile> open_store_file(const std::string& path, PageCache page_cache);
void release_store_lock(int fd);

// A sparse file of mode 0600 whose existence is durable. size: multiple of 4096. Errors: exists, no_space, permission,
// not_found (no such directory), invalid_argument; nothing is left behind on error.
Result<void> create_store_file(const std::string& path, std::uint64_t size_bytes);
// Durable when it returns. Refused with locked while a process has it open.
Result<void> remove_store_file(const std::string& path);

Result<void> sync_directory_of(const std::string& path);

}  // namespace holdfast::io
