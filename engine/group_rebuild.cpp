// What a group does to rebuild its copy, and what it answers to another copy that is being rebuilt.
#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/planted.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/mender.h"
#include "engine/operation.h"
#include "engine/volume_impl.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using rebuild::Answer;
using rebuild::Question;
using rebuild::QuestionKind;
using snapshot::StoredVolume;

namespace {
constexpr std::int64_t kPurgePauseMs = 10;
}

Task<Result<Answer>> GroupImpl::answer(Question question) {
  Operation operation(*this);
  if (failed_ || stopping_) co_return fail(Errc::closed);
  // Only who serves knows for certain what is committed.
  const bool leads = replica_->machine().role() == Role::primary;
  const bool of_any_copy = question.kind == QuestionKind::block || question.kind == QuestionKind::contents ||
                           question.kind == QuestionKind::next_leaf;
  if (!of_any_copy && !replica_->is_open()) co_return fail(leads ? Errc::busy : Errc::fenced);
  if (question.kind == QuestionKind::image) {
    auto image = co_await answer_image();
    co_return image;
  }
  VolumeImpl* volume = volume_of(question.volume);
  if (!volume) co_return fail(Errc::not_found);
  if (volume->is_closed()) co_return fail(Errc::busy);  // Its deletion is not committed: perhaps it never is.
  VolumeOperation reading(*volume);  // It is not deleted meanwhile.
  Result<Answer> answer = fail(Errc::protocol);
  switch (question.kind) {
    case QuestionKind::image: break;
    case QuestionKind::leaf: answer = co_await answer_leaf(&volume->stored(), question.index, Lsn(question.detail)); break;
    case QuestionKind::chunk: answer = co_await answer_chunk(volume, question.index); break;
    case QuestionKind::reservations: answer = co_await answer_reservations(volume); break;
    case QuestionKind::contents: answer = co_await answer_contents(volume, question.index, Lsn(question.detail)); break;
    case QuestionKind::next_leaf: answer = co_await answer_next_leaf(&volume->stored(), question.index, question.detail); break;
    case QuestionKind::block: answer = co_await answer_block(volume, question.index, question.detail); break;
  }
  co_return answer;
}

// Room for a batch for each of the others, and for what is on its way to them.
BufferPool* GroupImpl::other_copies_memory() {
  constexpr std::size_t kBytes = 8 * BufferPool::kLargestBytes;
  if (!other_copies_memory_) other_copies_memory_ = std::make_unique<BufferPool>(ports_.executor, kBytes);
  return other_copies_memory_.get();
}

// The point, the history and the catalogue are of one instant; a checkpoint then brings the maps at least there.
Task<Result<Answer>> GroupImpl::answer_image() {
  rebuild::Image image;
  image.lsn = Lsn(commit_lsn_);
  image.chain_xxh3 = commit_chain_;
  image.written_blocks = commit_written_;
  image.next_volume_id = store_.superblock().next_volume_id;
  image.history = facts_.history;
  image.history.cut(image.lsn);
  image.consumers.assign(store_.consumers().all().begin(), store_.consumers().all().end());
  for (const auto& volume : store_.volumes()) {
    image.volumes.push_back(volume->entry);
    image.volumes.back().reservation_bytes = volume->reservations.size();
  }
  if (checkpoint_lsn_ < image.lsn.value) CO_TRY(co_await checkpoint());
  if (checkpoint_lsn_ < image.lsn.value) co_return fail(Errc::busy);
  image.changes_since = store_.changes_known_since();  // Only now: applying may have raised it.
  const std::vector<std::byte> bytes = rebuild::encode_image(image);
  Answer answer;
  answer.lsn = image.lsn;
  answer.reach = Lsn(commit_lsn_);
  answer.bytes = bytes.size();
  answer.payload = co_await other_copies_memory()->acquire(round_up(bytes.size(), kBlockBytes));
  std::memset(answer.payload.data(), 0, answer.payload.size());
  std::memcpy(answer.payload.data(), bytes.data(), bytes.size());
  co_return answer;
}

Task<Result<Answer>> GroupImpl::answer_leaf(StoredVolume* volume, std::uint64_t from, Lsn since) {
  const std::uint64_t end = volume->leaf_count();
  auto changed = co_await volume->map->next_changed(std::min(from, end), end, since);
  if (!changed) co_return fail(changed.error());
  Answer answer;
  answer.index = changed->first;
  answer.reach = Lsn(commit_lsn_);
  if (changed->count == 0) co_return answer;
  Buffer payload = co_await other_copies_memory()->acquire(snapshot::kPageBytes);
  answer.count = changed->count;
  if (changed->hole) co_return answer;
  auto leaf = co_await volume->map->load_leaf(changed->first);
  if (!leaf) co_return fail(leaf.error());
  if (!*leaf) co_return answer;
  answer.count = 0;
  answer.payload = std::move(payload);
  std::memset(answer.payload.data(), 0, snapshot::kPageBytes);
  std::memcpy(answer.payload.data(), (*leaf)->body(), snapshot::kPageBody);
  answer.reach = Lsn(commit_lsn_);
  co_return answer;
}

Task<Result<Answer>> GroupImpl::answer_chunk(VolumeImpl* volume, std::uint64_t chunk) {
  const std::uint64_t first = chunk * kChunkBlocks;
  if (chunk >= volume->stored().chunk_count()) co_return fail(Errc::out_of_range);
  Answer answer;
  answer.lsn = Lsn(commit_lsn_);
  const std::uint64_t count = std::min<std::uint64_t>(kChunkBlocks, volume->capacity().value - first);
  Buffer content = co_await other_copies_memory()->acquire(kChunkBytes);
  std::memset(content.data(), 0, content.size());
  std::vector<LostBlock> lost;
  CO_TRY(co_await volume->read_what_is_left(BlockRange{Lba(first), BlockCount(count)}, content.slice(0, count * kBlockBytes), &lost));
  answer.reach = Lsn(commit_lsn_);
  // Such a block is lost there, too, and known to be so: what it should hold goes in its place, and nobody takes that for content.
  for (const LostBlock& block : lost) {
    mark(Mark::rebuild_lost_told);
    std::byte* place = content.data() + block.index * kBlockBytes;
    std::memset(place, 0, kBlockBytes);
    std::memcpy(place, &block.checksum, sizeof block.checksum);
    answer.lost = static_cast<std::uint16_t>(answer.lost | 1u << block.index);
    answer.mask = static_cast<std::uint16_t>(answer.mask | 1u << block.index);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* block = content.data() + i * kBlockBytes;
    const bool zeros = std::all_of(block, block + kBlockBytes, [](std::byte b) { return b == std::byte{0}; });
    if (!zeros) answer.mask = static_cast<std::uint16_t>(answer.mask | 1u << i);
  }
  if (answer.mask != 0) answer.payload = std::move(content);
  co_return answer;
}

Task<Result<Answer>> GroupImpl::answer_reservations(VolumeImpl* volume) {
  const std::vector<std::byte> state = volume->stored().reservations;
  Answer answer;
  answer.lsn = Lsn(volume->stored().entry.modified_lsn);
  answer.reach = Lsn(commit_lsn_);
  answer.bytes = state.size();
  if (state.empty()) co_return answer;
  answer.payload = co_await other_copies_memory()->acquire(round_up(state.size(), kBlockBytes));
  std::memset(answer.payload.data(), 0, answer.payload.size());
  std::memcpy(answer.payload.data(), state.data(), state.size());
  co_return answer;
}

Task<Result<Answer>> GroupImpl::answer_next_leaf(StoredVolume* volume, std::uint64_t from, std::uint64_t end) {
  std::uint64_t behind = 0;
  end = std::min(end, volume->leaf_count());
  auto found = co_await volume->map->next_leaf(std::min(from, end), end, &behind);
  if (!found) co_return fail(found.error());
  Answer answer;
  answer.index = *found;
  co_return answer;
}

// By its content: of whatever age this copy is, the asker gets what it should have, or nothing.
Task<Result<Answer>> GroupImpl::answer_block(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum) {
  if (block >= volume->capacity().value) co_return fail(Errc::out_of_range);
  Answer answer;
  answer.payload = co_await other_copies_memory()->acquire(kBlockBytes);
  CO_TRY(co_await volume->read_local(BlockRange{Lba(block), BlockCount(1)}, answer.payload, Unreadable::fails));
  if (xxh3(answer.payload.bytes()) != checksum) co_return fail(Errc::not_found);
  answer.bytes = kBlockBytes;
  co_return answer;
}

Task<Result<void>> GroupImpl::rebuild(rebuild::Peer* peer, bool whole) {
  // What is not committed is dropped, and what is committed goes into the map: from there on only the rebuild changes it.
  // What is to be compared as a whole is not believed before it was, however often that is interrupted.
  while (fitting_) co_await progress_.wait();
  if ((whole || store_.catalogue_lost()) && !maps_lost_) {
    unfit_ = log_lost_ = true;
    update_facts();
    CO_TRY(co_await note_maps_lost());
    replica_->say_hello_again();
    co_return fail(Errc::busy, "all of it is to be compared, and its primary is to know that first");
  }
  CO_TRY(co_await become_unfit(Lsn()));
  whole = maps_lost_;
  const Lsn log_end = log_.last_lsn();
  CO_TRY(co_await cut_log(Lsn(commit_lsn_)));
  co_await applier_.wait_until_applied(Lsn(commit_lsn_));
  CO_TRY(co_await checkpoint());
  if (checkpoint_lsn_ != commit_lsn_) co_return fail(Errc::busy, "what is committed cannot be applied now");
  mark(whole ? Mark::rebuild_whole : Mark::rebuild_begins);
  rebuilding_ = true;
  rebuild_began_ = ports_.clock.now();
  log_info(concat(title(), "this copy is being rebuilt: ", whole ? "all of it is compared" : concat("what changed since LSN ", commit_lsn_)));
  const Lsn base = planted(Bug::delta_from_log_end) ? log_end : Lsn(commit_lsn_);
  auto done = co_await compare_with(peer, whole ? Lsn() : base);
  Result<void> result;  // Not by a conditional expression: GCC 12 destroys what a co_await in it returns twice.
  if (done) {
    auto adopted = co_await adopt_image(&*done);
    result = std::move(adopted);
  } else {
    result = fail(done.error());
  }
  rebuilding_ = false;
  co_return result;
}

// Again when a page was taken as empty meanwhile: perhaps what it had was compared before.
Task<Result<rebuild::Target::Done>> GroupImpl::compare_with(rebuild::Peer* peer, Lsn base) {
  constexpr int kComparisonsMax = 8;
  if (maps_lost_) CO_TRY(co_await free_unnamed());
  for (int i = 0; i < kComparisonsMax; ++i) {
    emptied_before_ = store_.damage().emptied;
    compared_as_lost_ = maps_lost_;
    rebuild::Target target(store_, *peer, *this, ports_.clock, rebuild_progress_, options_.rebuild_keep_chunks);
    auto done = co_await target.run(base);
    if (!done || store_.damage().emptied == emptied_before_) co_return done;
  }
  co_return fail(Errc::busy, "ever more pages are unreadable");
}

// The log starts anew where the image is.
Task<Result<void>> GroupImpl::adopt_image(const rebuild::Target::Done* done) {
  co_await checkpoint_turn_.acquire();
  Turn turn(checkpoint_turn_);
  const rebuild::Image& image = done->image;
  CO_TRY(co_await store_.prepare_checkpoint());
  const bool same = store_.damage().emptied == emptied_before_ && maps_lost_ == compared_as_lost_;
  if (!same) co_return fail(Errc::busy, "another page is unreadable");
  store_.damage().taken_as_empty = false;  // From here on nothing is compared any more that could make up for it.
  store_.replace_history(image.history);
  // What was a hole there and here, but is none on a third copy, left no trace in these maps.
  if (!planted(Bug::delta_without_holes)) store_.changes_are_known_since(image.lsn);
  store_.consumers().replace(image.consumers, image.lsn);
  snapshot::CheckpointPoint point;
  point.applied = point.committed = point.durable = image.lsn;
  const wal::LogPoint reached{image.lsn, image.chain_xxh3, image.written_blocks};
  point.tail = log_.cursor_for_restart(reached);
  point.durable_position = point.retained_position = point.tail.position;
  point.rewind = true;
  auto kept = co_await store_.checkpoint(point);
  if (kept && log_lost_) {
    constexpr std::uint32_t kLost = snapshot::kFlagLogLost | snapshot::kFlagMapsLost;
    auto cleared = co_await update_superblock([](snapshot::Superblock& next) { next.flags &= ~kLost; });
    kept = std::move(cleared);
  }
  if (!kept) {
    store_failed(kept.error());
    co_return kept;
  }
  log_lost_ = maps_lost_ = false;
  log_.restart(point.tail);
  committed_at(reached);
  replayed_lsn_ = fit_from_lsn_ = 0;
  log_service_.noted(wal::RecordKind::write, reached.lsn);
  checkpoint_lsn_ = image.lsn.value;
  facts_.history = image.history;
  primary_end_ = Lsn();
  reach_ = planted(Bug::rebuilt_copy_fit_at_once) ? image.lsn : std::max(done->reach, image.lsn);
  update_facts();
  log_info(concat(title(), "this copy was rebuilt up to LSN ", image.lsn.value, "; the log follows"));
  // Nothing may follow: then it is whole already.
  log_durable(image.lsn);
  co_return Result<void>{};
}

void GroupImpl::volume_added(StoredVolume* volume) { add_volume_object(volume); }

void GroupImpl::block_lost(StoredVolume* volume, std::uint64_t block) {
  if (VolumeImpl* impl = volume_of(volume->id())) mender_->report_lost(*impl, block);
}

Task<Result<void>> GroupImpl::drop_volume(StoredVolume* volume) {
  const VolumeId id = volume->id();
  if (volume->deleting()) {  // Its purge is under way.
    auto purged = co_await await_purge(id);
    co_return purged;
  }
  const auto found = std::find_if(volumes_.begin(), volumes_.end(), [&](const auto& v) { return &v->stored() == volume; });
  if (found != volumes_.end()) {
    VolumeImpl* impl = found->get();
    impl->tell(VolumeEvent::deleted);
    co_await impl->close();
    const auto now = std::find_if(volumes_.begin(), volumes_.end(), [&](const auto& v) { return v.get() == impl; });
    deleted_.push_back(std::move(*now));
    volumes_.erase(now);
  }
  store_.mark_deleting(volume, Lsn(commit_lsn_));
  // Only who purges removes it: this may be given up, and the purge goes on.
  start_purge(id);
  auto purged = co_await await_purge(id);
  co_return purged;
}

Task<Result<void>> GroupImpl::await_purge(VolumeId id) {
  Timer pause(ports_.clock);
  while (purging_.contains(id.value) && !gives_up()) co_await pause.after(milliseconds(kPurgePauseMs));
  if (gives_up()) co_return fail(Errc::cancelled);
  if (store_.find(id)) co_return fail(Errc::corrupt, "a volume's map cannot be read");
  co_return Result<void>{};
}

Task<Result<Answer>> GroupImpl::ask_others(Question question) {
  auto answer = co_await replica_->ask_others(question);
  co_return answer;
}

Task<Result<void>> GroupImpl::read_local(std::string name, BlockRange range, Buffer into) {
  for (auto& volume : volumes_) {
    if (volume->identity().name != name) continue;
    auto done = co_await volume->read_local(range, into);
    co_return done;
  }
  co_return fail(Errc::not_found);
}

}  // namespace holdfast::engine
