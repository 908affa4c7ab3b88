// Bugs planted on purpose: the crash harness must find each of them, or it proves nothing.
// Without the compile definition HOLDFAST_PLANTED_BUGS (the preset `planted`) planted() is constant false and costs nothing.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace holdfast {

enum class Bug : std::uint8_t {
  log_write_not_durable,               // A batch is written without being made durable.
  checkpoint_superblock_before_pages,  // The new root is written before its pages are durable.
  batch_checksum_ignored,              // Recovery takes a batch without looking at its checksums.
  torn_tail_accepted,                  // Recovery keeps the part of a torn batch that looks whole.
  free_before_second_superblock,       // Log and pages are freed by the newer superblock copy alone.
  chunk_reused_before_checkpoint,      // A chunk that is freed is handed out before the freeing is durable.
  direct_data_not_synced,              // A reference to a fresh chunk is logged before the chunk's data is durable.
  apply_before_commit,                 // A record is applied in place before its batch is durable.
  generation_not_bumped,               // A restart goes on in the old log generation.
};

inline constexpr std::array<std::string_view, 9> kBugNames{
    "log_write_not_durable",         "checkpoint_superblock_before_pages", "batch_checksum_ignored",
    "torn_tail_accepted",            "free_before_second_superblock",      "chunk_reused_before_checkpoint",
    "direct_data_not_synced",        "apply_before_commit",                "generation_not_bumped"};

#ifdef HOLDFAST_PLANTED_BUGS
inline std::uint32_t planted_bugs = 0;  // One bit a bug; set before any store is opened.
inline bool planted(Bug bug) { return (planted_bugs >> static_cast<unsigned>(bug) & 1) != 0; }
#else
constexpr bool planted(Bug) { return false; }
#endif

}  // namespace holdfast
