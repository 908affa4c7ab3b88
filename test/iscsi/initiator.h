// A scripted initiator on a wire in memory: it says exactly what the test tells it to, right or wrong.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "scsi/pdu.h"
#include "scsi/portal.h"
#include "test/support/fake_stream.h"
#include "test/support/manual_executor.h"

namespace holdfast::test {

using scsi::Header;
using scsi::kNoTag;
using scsi::Opcode;

struct Pdu {
  Header header;
  std::string data;

  Opcode opcode() const { return header.opcode(); }
  std::uint8_t status() const { return header.u8(3); }
  std::uint32_t residual() const { return header.u32(44); }
  bool overflow() const { return (header.flags() & 4) != 0; }
  bool underflow() const { return (header.flags() & 2) != 0; }
  std::string sense() const {  // "key/asc/ascq"
    if (data.size() < 16) return "";
    const auto hex = [](char c) {
      constexpr char kDigits[] = "0123456789abcdef";
      return std::string{kDigits[static_cast<unsigned char>(c) >> 4], kDigits[c & 15]};
    };
    return hex(static_cast<char>(data[4] & 0xf)) + "/" + hex(data[14]) + "/" + hex(data[15]);
  }
};

// "a=b\0c=d\0" from {"a=b", "c=d"}.
inline std::string text_of(const std::vector<std::string>& pairs) {
  std::string text;
  for (const auto& pair : pairs) text.append(pair).append(1, '\0');
  return text;
}
inline std::string value_in(const std::string& text, const std::string& key) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::string pair(text.c_str() + at);
    if (pair.starts_with(key + "=")) return pair.substr(key.size() + 1);
    at += pair.size() + 1;
  }
  return "(absent)";
}

class Initiator {
 public:
  Initiator(ManualExecutor& executor, scsi::Portal& portal) : executor_(&executor) {
    wire = std::make_shared<FakeWire>(executor);
    portal.admit(std::make_unique<FakeStream>(wire));
    isid = {std::byte{0x80}, std::byte{1}, std::byte{2}, std::byte{3}, std::byte{0}, std::byte{1}};
  }

  // Sends and lets the target work until it rests.
  void send(Header header, std::string data = {}, std::string ahs = {}) {
    queue(header, std::move(data), std::move(ahs));
    executor_->run();
  }
  void queue(Header header, std::string data = {}, std::string ahs = {}) {
    header.set_data_bytes(static_cast<std::uint32_t>(data.size()));
    header.set8(4, static_cast<std::uint8_t>(ahs.size() / 4));
    std::string bytes(as_text(header.raw));
    bytes += ahs;
    if (header_digest) append_crc(bytes, bytes, break_header_digest);
    data.resize(scsi::padded(data.size()));
    bytes += data;
    if (data_digest && !data.empty()) append_crc(bytes, data, break_data_digest);
    wire->send(bytes);
  }

  // The next PDU that the target has sent; fails the test when there is none.
  Pdu take() {
    Pdu pdu;
    EXPECT_TRUE(has()) << "the target has sent nothing";
    if (!has()) return pdu;
    std::memcpy(pdu.header.raw.data(), wire->outbound.data(), 48);
    std::size_t at = 48;
    if (header_digest) {
      EXPECT_EQ(crc32c(as_bytes(wire->outbound.substr(0, 48))), load_le<std::uint32_t>(&as_bytes(wire->outbound)[48]));
      at += 4;
    }
    const std::size_t bytes = pdu.header.data_bytes();
    pdu.data = wire->outbound.substr(at, bytes);
    const std::string whole = wire->outbound.substr(at, scsi::padded(bytes));
    EXPECT_EQ(whole.size(), scsi::padded(bytes));
    at += scsi::padded(bytes);
    if (data_digest && bytes > 0) {
      EXPECT_EQ(crc32c(as_bytes(whole)), load_le<std::uint32_t>(&as_bytes(wire->outbound)[at]));
      at += 4;
    }
    wire->outbound.erase(0, at);
    if (pdu.opcode() != Opcode::data_in || (pdu.header.flags() & 1)) stat_sn = pdu.header.u32(24);
    exp_cmd_sn = pdu.header.u32(28);
    max_cmd_sn = pdu.header.u32(32);
    return pdu;
  }
  bool has() const { return wire->outbound.size() >= 48; }
  bool closed() const { return wire->closed; }
  std::vector<Pdu> take_all() {
    std::vector<Pdu> all;
    while (has()) all.push_back(take());
    return all;
  }

  // Login.
  Header login_header(std::uint8_t flags) const {
    Header h;
    h.set8(0, 0x43).set8(1, flags);
    std::copy(isid.begin(), isid.end(), h.raw.begin() + 8);
    h.set16(14, tsih).set32(16, login_itt).set16(20, cid).set32(24, cmd_sn);
    return h;
  }
  static constexpr std::uint8_t kOperationalToFull = 0x87;
  static constexpr std::uint8_t kSecurityToOperational = 0x81;
  static constexpr std::uint8_t kSecurityToFull = 0x83;
  static constexpr std::uint8_t kSecurity = 0x00;

  std::vector<std::string> identity() const {
    std::vector<std::string> keys{"InitiatorName=" + name};
    if (discovery) keys.push_back("SessionType=Discovery");
    else keys.push_back("TargetName=" + target);
    return keys;
  }
  Pdu login_step(std::uint8_t flags, const std::vector<std::string>& keys) {
    send(login_header(flags), text_of(keys));
    return take();
  }
  // Straight to the full feature phase.
  Pdu login(std::vector<std::string> more = {}) {
    auto keys = identity();
    keys.insert(keys.end(), more.begin(), more.end());
    Pdu reply = login_step(kOperationalToFull, keys);
    if (reply.header.u16(36) == 0) {
      tsih = reply.header.u16(14);
      header_digest = value_in(reply.data, "HeaderDigest") == "CRC32C";
      data_digest = value_in(reply.data, "DataDigest") == "CRC32C";
    }
    return reply;
  }
  static std::uint16_t login_status(const Pdu& reply) { return reply.header.u16(36); }

  // Full feature phase.
  Header request(Opcode opcode, std::uint8_t flags, std::uint32_t itt, bool immediate = false) {
    Header h;
    h.set8(0, static_cast<std::uint8_t>(static_cast<unsigned>(opcode) | (immediate ? 0x40 : 0))).set8(1, flags);
    h.set32(16, itt).set32(20, kNoTag).set32(24, immediate ? cmd_sn : cmd_sn++).set32(28, stat_sn + 1);
    return h;
  }
  Header command(unsigned opcode, std::uint32_t itt, std::uint32_t first, std::uint16_t blocks, std::uint8_t flags,
                 std::uint32_t expected, bool immediate = false) {
    Header h = request(Opcode::scsi_command, flags, itt, immediate);
    h.set32(20, expected).set8(32, static_cast<std::uint8_t>(opcode)).set32(34, first).set16(39, blocks);
    return h;
  }
  static constexpr std::uint8_t kRead = 0xc1;
  static constexpr std::uint8_t kWrite = 0xa1;
  static constexpr std::uint8_t kWriteMore = 0x21;  // Not final: unsolicited data follows.
  Header read(std::uint32_t itt, std::uint32_t first, std::uint16_t blocks) {
    return command(0x28, itt, first, blocks, kRead, blocks * 512U);
  }
  Header write(std::uint32_t itt, std::uint32_t first, std::uint16_t blocks) {
    return command(0x2a, itt, first, blocks, kWrite, blocks * 512U);
  }
  Header test_unit_ready(std::uint32_t itt) { return command(0, itt, 0, 0, 0x81, 0); }
  Header data_out(std::uint32_t itt, std::uint32_t ttt, std::uint32_t data_sn, std::uint32_t offset, bool final) {
    Header h;
    h.set8(0, 0x05).set8(1, final ? 0x80 : 0).set32(16, itt).set32(20, ttt).set32(28, stat_sn + 1);
    h.set32(36, data_sn).set32(40, offset);
    return h;
  }
  Header task_management(scsi::TaskFunction function, std::uint32_t itt, std::uint32_t referenced = kNoTag,
                         std::uint64_t lun = 0) {
    Header h = request(Opcode::task_management, static_cast<std::uint8_t>(0x80 | static_cast<unsigned>(function)), itt,
                       true);
    h.set64(8, lun).set32(20, referenced);
    return h;
  }

  std::shared_ptr<FakeWire> wire;
  std::string name = "iqn.1993-08.org.debian:01:abc";
  std::string target = "iqn.2026-11.io.holdfast:pg";
  bool discovery = false;
  std::array<std::byte, 6> isid;
  std::uint16_t tsih = 0;
  std::uint16_t cid = 0;
  std::uint32_t login_itt = 7;
  std::uint32_t cmd_sn = 0xfffffff0;  // Soon wraps.
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  bool header_digest = false;
  bool data_digest = false;
  bool break_header_digest = false;
  bool break_data_digest = false;

 private:
  static void append_crc(std::string& to, const std::string& of, bool broken) {
    std::array<std::byte, 4> digest;
    store_le(digest.data(), crc32c(as_bytes(of)) ^ (broken ? 1 : 0));
    to += as_text(digest);
  }
  ManualExecutor* executor_;
};

}  // namespace holdfast::test
