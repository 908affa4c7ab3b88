// What a copy that is being rebuilt asks of another, and what it gets. The other side keeps no state: each question stands for
// itself, so that either side may go away and come back, and what was fetched need not be fetched again.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/result.h"
#include "base/types.h"
#include "snapshot/store_format.h"
#include "wal/history.h"

namespace holdfast::rebuild {

enum class QuestionKind : std::uint16_t {
  image = 1,         // What is there, as of a point of the log that everything asked for later includes.
  leaf = 2,          // The first page of a volume's map at or after `index` that changed after LSN `detail`.
  chunk = 3,         // A chunk's content, as it is now.
  reservations = 4,  // A volume's.
  block = 5,         // The block at `index` of a volume, if its XXH3 is `detail`.
  contents = 6,      // What the blocks of the map page at `index` hold, by their XXH3, as of an LSN from `detail` on.
  next_leaf = 7,     // The first page of a volume's map from `index` on and before `detail` that is no hole: a hint where to look.
};
// Of one map page; a hole has the checksum of zeros.
inline constexpr std::size_t kLeafContents = snapshot::kLeafChunks * kChunkBlocks;
static_assert(kLeafContents * sizeof(std::uint64_t) <= kBlockBytes);

struct Question {
  std::uint64_t id = 0;      // Of the asker's connection.
  QuestionKind kind = QuestionKind::image;
  VolumeId volume;
  std::uint64_t index = 0;
  std::uint64_t detail = 0;
};

struct Answer {
  std::uint64_t id = 0;
  Errc code{};               // Zero: here it is. not_found: no such volume (any more), or no such block. busy: ask later.
  std::uint64_t index = 0;   // leaf, next_leaf: of the page; the number of pages, or `detail`, when there is none.
  std::uint64_t count = 0;   // leaf: that many pages from there on are holes; zero: the page is the payload.
  Lsn lsn;                   // image, contents: the point. chunk: everything up to it is in the content …
  Lsn reach;                 // … and perhaps some of what follows, up to here.
  std::uint16_t mask = 0;    // chunk: blocks that have data; the others are zeros in the payload.
  std::uint16_t lost = 0;    // chunk: of them, those that no copy could give. In their place the payload begins with what their
                             // content's XXH3 was, and goes on with zeros.
  std::uint64_t bytes = 0;   // image, reservations: of the payload that count.
  Buffer payload;            // Whole blocks.
};
inline constexpr std::size_t kAnswerBlocksMax = 16;

// On the wire; the frame around them is wal/frame_format.h's.
struct QuestionBody {
  std::uint64_t id;
  std::uint64_t volume_id;
  std::uint64_t index;
  std::uint64_t detail;
  std::uint16_t kind;
  std::uint8_t reserved[6];
};
static_assert(sizeof(QuestionBody) == 40);
struct AnswerBody {
  std::uint64_t id;
  std::uint64_t index;
  std::uint64_t count;
  std::uint64_t lsn;
  std::uint64_t reach;
  std::uint64_t bytes;
  std::uint64_t payload_xxh3;
  std::uint16_t code;
  std::uint16_t mask;
  std::uint16_t lost;
  std::uint16_t reserved;
};
static_assert(sizeof(AnswerBody) == 64);

QuestionBody body_of(const Question& question);
AnswerBody body_of(const Answer& answer);
// Errors: protocol.
Result<Question> question_of(const QuestionBody& body);
// Also holds the payload against its checksum.
Result<Answer> answer_of(const AnswerBody& body, Buffer payload);

// The content of an image.
struct Image {
  Lsn lsn;
  std::uint64_t chain_xxh3 = 0;        // Of the record at it …
  std::uint64_t written_blocks = 0;    // … and up to it.
  std::uint64_t next_volume_id = 0;
  Lsn changes_since;                   // The maps there tell what changed since any LSN from this one on.
  wal::EpochHistory history;           // Up to it.
  std::vector<snapshot::CatalogueEntry> volumes;
  std::vector<snapshot::StoredConsumer> consumers;
};
inline constexpr std::size_t kImageBytesMax = kAnswerBlocksMax * kBlockBytes;

// At most kImageBytesMax.
std::vector<std::byte> encode_image(const Image& image);
// Errors: protocol.
Result<Image> decode_image(Bytes bytes, Lsn lsn);

// What a block of the entry reads as, by its checksum.
std::uint64_t checksum_of_zeros();
std::uint64_t content_of(const snapshot::MapEntry& entry, std::size_t block);

}  // namespace holdfast::rebuild
