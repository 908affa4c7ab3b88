#include "scsi/third_party_copy.h"

#include <algorithm>

namespace holdfast::scsi {
namespace {

constexpr std::size_t kListHeaderBytes = 16;
constexpr std::size_t kTargetBytes = 32;
constexpr std::size_t kSegmentBytes = 28;
constexpr std::byte kIdentificationTarget{0xe4};
constexpr std::byte kBlockToBlock{0x02};
constexpr std::uint8_t kUsageDiscard = 2;
constexpr std::uint8_t kUsageDisable = 3;
constexpr auto kCopyAborted = SenseKey(0xa);

// Is the designator of a target descriptor one of this logical unit's own?
bool names_this_unit(Bytes target, Bytes device_page) {
  const std::size_t length = std::to_integer<std::size_t>(target[7]);
  if (length == 0 || length > 20) return false;
  const auto wanted = target.subspan(8, length);
  std::size_t at = 4;
  while (at + 4 <= device_page.size()) {
    const std::size_t own_length = std::to_integer<std::size_t>(device_page[at + 3]);
    if (own_length > device_page.size() - at - 4) return false;
    const bool same_kind = (device_page[at] & std::byte{0x0f}) == (target[4] & std::byte{0x0f}) &&
                           (device_page[at + 1] & std::byte{0x3f}) == (target[5] & std::byte{0x3f});
    const auto own = device_page.subspan(at + 4, own_length);
    // A designator longer than the field is sent cut to its 20 bytes.
    if (same_kind && std::equal(wanted.begin(), wanted.end(), own.begin(), own.begin() + std::min(own_length, length)) &&
        (own_length == length || length == 20))
      return true;
    at += 4 + own_length;
  }
  return false;
}

Verdict decode_targets(Bytes list, Bytes device_page) {
  if (list.size() % kTargetBytes != 0) return invalid_parameter(2);
  for (std::size_t at = 0; at < list.size(); at += kTargetBytes) {
    if (list[at] != kIdentificationTarget) return illegal(Asc::unsupported_target_descriptor);
    if (at / kTargetBytes == kCopyTargetsMax) return illegal(Asc::too_many_target_descriptors);
  }
  for (std::size_t at = 0; at < list.size(); at += kTargetBytes) {
    const Bytes target = list.subspan(at, kTargetBytes);
    if (load_be24(&target[29]) != kBlockBytes) return invalid_parameter(static_cast<std::uint16_t>(kListHeaderBytes + at + 29));
    if (!names_this_unit(target, device_page)) return check(kCopyAborted, Asc::unreachable_copy_target);
  }
  return go_on();
}

Verdict decode_segments(Bytes list, std::size_t targets, BlockCount capacity, std::vector<CopySegment>& out) {
  for (std::size_t at = 0; at < list.size(); at += kSegmentBytes) {
    if (list[at] != kBlockToBlock) return illegal(Asc::unsupported_segment_descriptor);
    if (at / kSegmentBytes == kCopySegmentsMax) return illegal(Asc::too_many_segment_descriptors);
    if (list.size() - at < kSegmentBytes) return illegal(Asc::parameter_list_length_error);
  }
  for (std::size_t at = 0; at < list.size(); at += kSegmentBytes) {
    const Bytes s = list.subspan(at, kSegmentBytes);
    if (load_be<std::uint16_t>(&s[4]) >= targets || load_be<std::uint16_t>(&s[6]) >= targets)
      return check(kCopyAborted, Asc::unreachable_copy_target);
    const BlockCount count(load_be<std::uint16_t>(&s[10]));
    const BlockRange from{Lba(load_be<std::uint64_t>(&s[12])), count};
    const BlockRange to{Lba(load_be<std::uint64_t>(&s[20])), count};
    if (!range_fits(from, capacity) || !range_fits(to, capacity)) return check(kCopyAborted, Asc::none);
    if (count.value > 0) out.push_back({from, to.first});
  }
  return go_on();
}

void append_be16(std::vector<std::byte>& out, std::uint16_t value) {
  out.push_back(std::byte(value >> 8));
  out.push_back(std::byte(value));
}

// A third-party copy descriptor: type, length, body padded to four bytes.
void append_descriptor(std::vector<std::byte>& page, std::uint16_t type, std::vector<std::byte> body) {
  while (body.size() % 4 != 0) body.push_back(std::byte{0});
  append_be16(page, type);
  append_be16(page, static_cast<std::uint16_t>(body.size()));
  page.insert(page.end(), body.begin(), body.end());
}

std::vector<std::byte> bytes_list(std::initializer_list<unsigned> values) {
  std::vector<std::byte> out;
  for (unsigned v : values) out.push_back(std::byte(v));
  return out;
}

}  // namespace

CopyRequest decode_extended_copy(Bytes parameters, BlockCount capacity, Bytes device_page) {
  CopyRequest request;
  if (parameters.empty()) return request;
  if (parameters.size() < kListHeaderBytes) {
    request.verdict = illegal(Asc::parameter_list_length_error);
    return request;
  }
  request.list_id = std::to_integer<std::uint8_t>(parameters[0]);
  const auto usage = std::to_integer<unsigned>(parameters[1]) >> 3 & 3;
  request.keep_result = usage != kUsageDiscard && usage != kUsageDisable;
  const std::size_t targets = load_be<std::uint16_t>(&parameters[2]);
  const std::size_t segments = load_be<std::uint32_t>(&parameters[8]);
  const std::size_t inline_data = load_be<std::uint32_t>(&parameters[12]);
  const bool fits = targets + segments + inline_data <= parameters.size() - kListHeaderBytes;
  if (!fits || inline_data != 0 || targets + segments > kCopyDescriptorBytesMax) {
    request.verdict = illegal(Asc::parameter_list_length_error);
    return request;
  }
  request.verdict = decode_targets(parameters.subspan(kListHeaderBytes, targets), device_page);
  if (request.verdict.ok())
    request.verdict = decode_segments(parameters.subspan(kListHeaderBytes + targets, segments), targets / kTargetBytes,
                                      capacity, request.segments);
  return request;
}

std::vector<std::byte> copy_operating_parameters() {
  std::vector<std::byte> out(44);
  store_be<std::uint16_t>(&out[8], kCopyTargetsMax);
  store_be<std::uint16_t>(&out[10], kCopySegmentsMax);
  store_be<std::uint32_t>(&out[12], kCopyDescriptorBytesMax);
  store_be<std::uint32_t>(&out[16], kCopySegmentBlocksMax * kBlockBytes);
  store_be<std::uint16_t>(&out[34], 16);   // Total concurrent copies.
  out[36] = std::byte{1};                  // Of one initiator.
  out[37] = std::byte{12};                 // Granularity: 2^12 bytes.
  out.push_back(kBlockToBlock);
  out.push_back(kIdentificationTarget);
  out[43] = std::byte{2};
  store_be<std::uint32_t>(&out[0], static_cast<std::uint32_t>(out.size() - 4));
  return out;
}

std::vector<std::byte> copy_status(const CopyOutcome& outcome) {
  std::vector<std::byte> out(12);
  store_be<std::uint32_t>(&out[0], static_cast<std::uint32_t>(out.size() - 4));
  out[4] = std::byte(outcome.failed ? 0x02 : 0x01);
  store_be<std::uint16_t>(&out[5], outcome.segments);
  out[7] = std::byte{0x02};  // Counted in MiB.
  store_be<std::uint32_t>(&out[8], outcome.mib);
  return out;
}

void third_party_copy_page(std::vector<std::byte>& page) {
  append_descriptor(page, 0x0001, bytes_list({7, 0x83, 1, 0x00, 0x84, 2, 0x00, 0x03}));  // Supported commands.
  std::vector<std::byte> parameters(28);
  store_be<std::uint16_t>(&parameters[4], kCopyTargetsMax);
  store_be<std::uint16_t>(&parameters[6], kCopySegmentsMax);
  store_be<std::uint32_t>(&parameters[8], kCopyDescriptorBytesMax);
  append_descriptor(page, 0x0004, std::move(parameters));
  append_descriptor(page, 0x0008, bytes_list({2, 0x02, 0xe4}));                                 // Supported descriptors.
  append_descriptor(page, 0x000c, bytes_list({0, 0}));                                          // No CSCD identifiers.
  std::vector<std::byte> general(32);
  store_be<std::uint32_t>(&general[0], 16);
  store_be<std::uint32_t>(&general[4], 1);
  store_be<std::uint32_t>(&general[8], kCopySegmentBlocksMax * kBlockBytes);
  general[12] = std::byte{12};
  append_descriptor(page, 0x8001, std::move(general));
}

}  // namespace holdfast::scsi
