#include "rebuild/exchange.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "snapshot/consumer_table.h"

namespace holdfast::rebuild {
namespace {

struct ImageHeader {
  std::uint64_t chain_xxh3;
  std::uint64_t written_blocks;
  std::uint64_t next_volume_id;
  std::uint64_t epoch_count;
  std::uint64_t volume_count;
  std::uint64_t consumer_count;
  std::uint64_t changes_since_lsn;
  snapshot::EpochStart forgotten;  // Of the history (wal/history.h).
};
constexpr std::size_t kVolumesMax = 256;
static_assert(sizeof(ImageHeader) + snapshot::kEpochsKept * sizeof(snapshot::EpochStart) +
                  kVolumesMax * sizeof(snapshot::CatalogueEntry) +
                  snapshot::kConsumersMax * sizeof(snapshot::StoredConsumer) <= kImageBytesMax);

template <class T>
void put(std::vector<std::byte>& out, const T& value) {
  const Bytes bytes = bytes_of(value);
  out.insert(out.end(), bytes.begin(), bytes.end());
}
template <class T>
bool take(Bytes& from, T& value) {
  if (from.size() < sizeof value) return false;
  std::memcpy(&value, from.data(), sizeof value);
  from = from.subspan(sizeof value);
  return true;
}

std::unexpected<Error> bad(const char* what) { return fail(Errc::protocol, what); }

// A name ends within its field and has something in it.
bool is_sane(const snapshot::CatalogueEntry& e) {
  return e.volume_id != 0 && e.kind == static_cast<std::uint16_t>(snapshot::EntryKind::volume) && e.name[63] == 0 && e.name[0] != 0 &&
         e.block_count != 0 && e.block_count % kChunkBlocks == 0 && e.block_count <= (std::uint64_t{1} << 50) / kBlockBytes &&
         e.reservation_bytes <= snapshot::kBlobBytesMax;
}

}  // namespace

QuestionBody body_of(const Question& question) {
  QuestionBody body{};
  body.id = question.id;
  body.volume_id = question.volume.value;
  body.index = question.index;
  body.detail = question.detail;
  body.kind = static_cast<std::uint16_t>(question.kind);
  return body;
}

AnswerBody body_of(const Answer& answer) {
  ENSURE(answer.payload.size() <= kAnswerBlocksMax * kBlockBytes && answer.payload.size() % kBlockBytes == 0);
  AnswerBody body{};
  body.id = answer.id;
  body.index = answer.index;
  body.count = answer.count;
  body.lsn = answer.lsn.value;
  body.reach = answer.reach.value;
  body.bytes = answer.bytes;
  body.payload_xxh3 = xxh3(answer.payload.bytes());
  body.code = static_cast<std::uint16_t>(answer.code);
  body.mask = answer.mask;
  body.lost = answer.lost;
  return body;
}

Result<Question> question_of(const QuestionBody& body) {
  if (body.kind < 1 || body.kind > static_cast<std::uint16_t>(QuestionKind::next_leaf)) return bad("a question of an unknown kind");
  return Question{body.id, static_cast<QuestionKind>(body.kind), VolumeId(body.volume_id), body.index, body.detail};
}

Result<Answer> answer_of(const AnswerBody& body, Buffer payload) {
  if (body.code > static_cast<std::uint16_t>(Errc::overloaded) || body.reserved != 0 || (body.lost & ~body.mask) != 0) return bad("an answer makes no sense");
  if (payload.size() > kAnswerBlocksMax * kBlockBytes || body.bytes > payload.size()) return bad("an answer's length is impossible");
  if (xxh3(payload.bytes()) != body.payload_xxh3) return bad("an answer's checksum is wrong");
  Answer answer;
  answer.id = body.id;
  answer.code = static_cast<Errc>(body.code);
  answer.index = body.index;
  answer.count = body.count;
  answer.lsn = Lsn(body.lsn);
  answer.reach = Lsn(body.reach);
  answer.mask = body.mask;
  answer.lost = body.lost;
  answer.bytes = body.bytes;
  answer.payload = std::move(payload);
  return answer;
}

std::vector<std::byte> encode_image(const Image& image) {
  std::vector<std::byte> out;
  put(out, ImageHeader{image.chain_xxh3, image.written_blocks, image.next_volume_id, image.history.epochs().size(), image.volumes.size(),
                       image.consumers.size(), image.changes_since.value, {image.history.forgotten().epoch.value, image.history.forgotten().end.value}});
  for (const wal::EpochBegin& e : image.history.epochs()) put(out, snapshot::EpochStart{e.epoch.value, e.first.value});
  for (const snapshot::CatalogueEntry& entry : image.volumes) put(out, entry);
  for (const snapshot::StoredConsumer& consumer : image.consumers) put(out, consumer);
  ENSURE(out.size() <= kImageBytesMax);
  return out;
}

Result<Image> decode_image(Bytes bytes, Lsn lsn) {
  ImageHeader header;
  if (!take(bytes, header)) return bad("an image is too short");
  if (header.epoch_count > snapshot::kEpochsKept || header.volume_count > kVolumesMax || header.consumer_count > snapshot::kConsumersMax)
    return bad("an image has too much in it");
  Image image;
  image.lsn = lsn;
  image.chain_xxh3 = header.chain_xxh3;
  image.written_blocks = header.written_blocks;
  image.next_volume_id = header.next_volume_id;
  image.changes_since = Lsn(header.changes_since_lsn);
  std::vector<wal::EpochBegin> epochs;
  for (std::uint64_t i = 0; i < header.epoch_count; ++i) {
    snapshot::EpochStart one;
    if (!take(bytes, one)) return bad("an image's history is cut off");
    const bool grows = epochs.empty() || (one.epoch > epochs.back().epoch.value && one.first_lsn > epochs.back().first.value);
    if (one.epoch == 0 || one.first_lsn == 0 || one.first_lsn > lsn.value || !grows) return bad("an image's history makes no sense");
    epochs.push_back({Epoch(one.epoch), Lsn(one.first_lsn)});
  }
  const wal::EpochHistory::Content forgotten{Epoch(header.forgotten.epoch), Lsn(header.forgotten.first_lsn)};
  const bool before_all = epochs.empty() ? forgotten.end <= lsn : forgotten.epoch < epochs.front().epoch && forgotten.end < epochs.front().first;
  if (!before_all) return bad("an image's history forgets what it has");
  image.history = wal::EpochHistory(std::move(epochs), forgotten);
  for (std::uint64_t i = 0; i < header.volume_count; ++i) {
    snapshot::CatalogueEntry entry;
    if (!take(bytes, entry) || !is_sane(entry)) return bad("an image's catalogue makes no sense");
    image.volumes.push_back(entry);
  }
  for (std::uint64_t i = 0; i < header.consumer_count; ++i) {
    snapshot::StoredConsumer consumer;
    if (!take(bytes, consumer) || !snapshot::is_sane(consumer)) return bad("an image's consumers make no sense");
    image.consumers.push_back(consumer);
  }
  if (!bytes.empty()) return bad("something follows an image");
  return image;
}

std::uint64_t checksum_of_zeros() {
  static const std::uint64_t value = [] {
    const std::array<std::byte, kBlockBytes> zeros{};
    return xxh3(zeros);
  }();
  return value;
}

// What a block reads as, by its checksum: a hole is zeros.
std::uint64_t content_of(const snapshot::MapEntry& entry, std::size_t block) {
  const bool has_data = entry.location != 0 && (entry.valid_mask >> block & 1) != 0;
  return has_data ? entry.checksums[block] : checksum_of_zeros();
}

}  // namespace holdfast::rebuild
