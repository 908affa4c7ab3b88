// What the logical unit tells about itself. Identity is frozen here: a changed byte is another disk to every host.
#include <gtest/gtest.h>

#include "scsi/opcodes.h"
#include "test/support/scsi_bench.h"

namespace holdfast::test {
namespace {

using scsi::Status;

Octets inquiry_cdb(int flags, int page, int bytes) { return octets({0x12, flags, page, bytes >> 8, bytes & 0xff, 0}); }
Octets inquire(ScsiBench& bench, int page, std::uint64_t lun = 0) {
  return bench.send(bench.a, inquiry_cdb(1, page, 1024), {}, 1024, lun)->data();
}
std::string text(const Octets& data, std::size_t at, std::size_t length) {
  return std::string(as_text(Bytes(data).subspan(at, length)));
}

TEST(Inquiry, StandardData_IsFrozen) {
  ScsiBench bench;
  const Octets data = bench.send(bench.a, inquiry_cdb(0, 0, 255), {}, 255)->data();
  ASSERT_EQ(data.size(), 96u);
  EXPECT_EQ(Octets(data.begin(), data.begin() + 8), octets({0x00, 0x00, 0x06, 0x12, 91, 0x18, 0x10, 0x02}));
  EXPECT_EQ(text(data, 8, 28), "HOLDFASTVolume          0001");
  EXPECT_EQ(Octets(data.begin() + 58, data.begin() + 66), octets({0x00, 0xa0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xc0}));
}

TEST(Inquiry, AllocationLength_CutsAndNothingElse) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, inquiry_cdb(0, 0, 5), {}, 255)->data().size(), 5u);
  EXPECT_EQ(bench.send(bench.a, inquiry_cdb(0, 0, 0), {}, 255)->data().size(), 0u);
  EXPECT_EQ(bench.send(bench.a, inquiry_cdb(0, 0x83, 255), {}, 255)->asc(), 0x2400u);
  EXPECT_EQ(bench.send(bench.a, inquiry_cdb(2, 0, 255), {}, 255)->asc(), 0x2400u);
}

TEST(Vpd, EveryListedPage_AnswersWithItsLength) {
  ScsiBench bench;
  const Octets list = inquire(bench, 0x00);
  EXPECT_EQ(list, octets({0, 0, 0, 9, 0x00, 0x80, 0x83, 0x86, 0x87, 0x8f, 0xb0, 0xb1, 0xb2}));
  for (std::size_t i = 4; i < list.size(); ++i) {
    const Octets page = inquire(bench, std::to_integer<int>(list[i]));
    ASSERT_GE(page.size(), 4u);
    EXPECT_EQ(page[1], list[i]);
    EXPECT_EQ(load_be<std::uint16_t>(&page[2]), page.size() - 4);
  }
  EXPECT_EQ(bench.send(bench.a, inquiry_cdb(1, 0xb3, 255), {}, 255)->asc(), 0x2400u);
}

TEST(Vpd, Identity_IsFrozen) {
  ScsiBench bench;
  EXPECT_EQ(text(inquire(bench, 0x80), 4, 32), "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
  const Octets page = inquire(bench, 0x83);
  const Octets head(page.begin(), page.begin() + 16);
  EXPECT_EQ(head, octets({0, 0x83, 0, 144, 0x01, 0x03, 0, 8, 0x30, 0x90, 0xb0, 0x90, 0xf0, 0x90, 0xb0, 0x90}));
  EXPECT_EQ(text(page, 20, 40), "HOLDFASTa0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
  EXPECT_EQ(Octets(page.begin() + 60, page.begin() + 76),
            octets({0x51, 0x94, 0, 4, 0, 0, 0, 1, 0x51, 0x95, 0, 4, 0, 0, 0, 1}));
  EXPECT_EQ(text(page, 80, 35), "iqn.2026-11.io.holdfast:pg,t,0x0001");
  EXPECT_EQ(text(page, 120, 26), "iqn.2026-11.io.holdfast:pg");
}

// A host joins two paths when the unit's designators are equal and tells them apart by the port's.
TEST(Vpd, ThroughAnotherPort_OnlyPortDesignatorsDiffer) {
  ScsiBench bench;
  const Octets one = inquire(bench, 0x83);
  bench.a = bench.login("iqn.2026-11.test:a", 3, 2);
  const Octets two = inquire(bench, 0x83);
  ASSERT_EQ(one.size(), two.size());
  std::vector<std::size_t> different;
  for (std::size_t i = 0; i < one.size(); ++i)
    if (one[i] != two[i]) different.push_back(i);
  EXPECT_EQ(different, (std::vector<std::size_t>{67, 75, 114}));
}

TEST(Vpd, BlockLimits_AreFrozen) {
  ScsiBench bench;
  const Octets page = inquire(bench, 0xb0);
  ASSERT_EQ(page.size(), 64u);
  EXPECT_EQ(Octets(page.begin(), page.begin() + 16), octets({0, 0xb0, 0, 60, 1, 128, 0, 16, 0, 0, 8, 0, 0, 0, 1, 0}));
  EXPECT_EQ(Octets(page.begin() + 20, page.begin() + 64),
            octets({0, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                    0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(inquire(bench, 0xb2), octets({0, 0xb2, 0, 4, 0, 0xe4, 2, 0}));
}

TEST(ReadCapacity, BothSizes_TellLastBlockAndThinProvisioning) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, cdb10(0x25, 0, 0), {}, 8)->data(), octets({0, 0, 0xff, 0xff, 0, 0, 0x10, 0}));
  Octets cdb = cdb16(0x9e, 0, 32, 0x10);
  const Octets data = bench.send(bench.a, cdb, {}, 32)->data();
  ASSERT_EQ(data.size(), 32u);
  EXPECT_EQ(load_be<std::uint64_t>(&data[0]), 65535u);
  EXPECT_EQ(data[14], std::byte{0xc0});
  bench.volume.set_capacity(BlockCount(1ULL << 33));
  EXPECT_EQ(bench.send(bench.a, cdb10(0x25, 0, 0), {}, 8)->data(), octets({0xff, 0xff, 0xff, 0xff, 0, 0, 0x10, 0}));
}

TEST(Luns, OtherThanZero_AreAbsent) {
  ScsiBench bench;
  const std::uint64_t lun_one = 0x0001000000000000;
  EXPECT_EQ(bench.send(bench.a, inquiry_cdb(0, 0, 96), {}, 96, lun_one)->data()[0], std::byte{0x7f});
  EXPECT_EQ(bench.send(bench.a, octets({0, 0, 0, 0, 0, 0}), {}, 0, lun_one)->asc(), 0x2500u);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2a, 0, 1), blocks_of(1, 1), 0, lun_one)->asc(), 0x2500u);
  EXPECT_EQ(bench.send(bench.a, octets({3, 0, 0, 0, 18, 0}), {}, 18, lun_one)->data()[12], std::byte{0x25});
}

TEST(ReportLuns, EverySelection_AnswersOrIsRefused) {
  ScsiBench bench;
  const auto report = [&](int select) {
    return bench.send(bench.a, octets({0xa0, 0, select, 0, 0, 0, 0, 0, 1, 0, 0, 0}), {}, 256);
  };
  EXPECT_EQ(report(0)->data(), octets({0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(report(1)->data(), octets({0, 0, 0, 8, 0, 0, 0, 0, 0xc1, 1, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(report(2)->data().size(), 24u);
  EXPECT_EQ(report(0x10)->data(), octets({0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(report(3)->asc(), 0x2400u);
  EXPECT_EQ(bench.send(bench.a, octets({0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0}), {}, 15)->asc(), 0x2400u);
}

Octets mode_sense6(ScsiBench& bench, int page, int subpage = 0, int flags = 0) {
  return bench.send(bench.a, octets({0x1a, flags, page, subpage, 255, 0}), {}, 255)->data();
}

TEST(ModeSense, AllPages_AreFrozen) {
  ScsiBench bench;
  EXPECT_EQ(mode_sense6(bench, 0x3f),
            octets({67, 0, 0x10, 8, 0, 1, 0, 0, 0, 0, 0x10, 0,                                  // Header, block descriptor.
                    0x01, 0x0a, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                                // Error recovery.
                    0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,           // Caching: WCE 0.
                    0x0a, 0x0a, 0, 0x10, 0, 0x00, 0, 0, 0xff, 0xff, 0, 0,                       // Control.
                    0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0}));                             // Exceptions.
  EXPECT_EQ(mode_sense6(bench, 0x3f, 0xff).size(), 100u);
  EXPECT_EQ(mode_sense6(bench, 0x3f, 0, 0x08).size(), 60u);
  EXPECT_EQ(mode_sense6(bench, 0x0a, 1, 0x08).size(), 36u);
}

TEST(ModeSense, Changeable_AreDescriptorSenseAndWriteProtect) {
  ScsiBench bench;
  EXPECT_EQ(mode_sense6(bench, 0x4a, 0, 8), octets({15, 0, 0x10, 0, 0x0a, 0x0a, 0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(ModeSense, SavedOrUnknownPages_AreRefused) {
  ScsiBench bench;
  const auto asc = [&](int page, int subpage) {
    return bench.send(bench.a, octets({0x1a, 0, page, subpage, 255, 0}), {}, 255)->asc();
  };
  EXPECT_EQ(asc(0xc8, 0), 0x3900u);
  EXPECT_EQ(asc(0x02, 0), 0x2400u);
  EXPECT_EQ(asc(0x08, 1), 0x2400u);
  EXPECT_EQ(asc(0x3f, 1), 0x2400u);
}

// TAS = 1 would promise TASK ABORTED to hosts whose commands another one aborts; the transport is silent.
TEST(ModeSense, ControlPage_PromisesNoTaskAbortedStatus) {
  ScsiBench bench;
  const Octets page = bench.send(bench.a, octets({0x1a, 0x08, 0x0a, 0, 255, 0}), {}, 255)->data();
  ASSERT_EQ(page.size(), 16u);
  EXPECT_EQ(page[4 + 5] & std::byte{0x40}, std::byte{});
}

TEST(ModeSense, TenByteWithLongLba_HasALongDescriptor) {
  ScsiBench bench;
  const Octets data = bench.send(bench.a, octets({0x5a, 0x10, 0x08, 0, 0, 0, 0, 1, 0, 0}), {}, 256)->data();
  EXPECT_EQ(data.size(), 8u + 16 + 20);
  EXPECT_EQ(data[4], std::byte{1});
  EXPECT_EQ(load_be<std::uint64_t>(&data[8]), ScsiBench::kBlocks);
  EXPECT_EQ(load_be<std::uint32_t>(&data[20]), 4096u);
}

auto mode_select6(ScsiBench& bench, Octets list, int flags = 0x10) {
  return bench.send(bench.a, octets({0x15, flags, 0, 0, int(list.size()), 0}), list);
}
Octets control_page(int byte2, int byte4) {
  return octets({0, 0, 0, 0, 0x0a, 0x0a, byte2, 0x10, byte4, 0x00, 0, 0, 0xff, 0xff, 0, 0});
}

TEST(ModeSelect, DescriptorSense_ChangesTheFormatAndTellsTheOthers) {
  ScsiBench bench;
  EXPECT_EQ(mode_select6(bench, control_page(0x04, 0))->status(), Status::good);
  auto x = bench.send(bench.a, cdb16(0x88, ~0ULL, 1), {}, 4096);
  EXPECT_EQ(x->command.sense.bytes[0], std::byte{0x72});
  EXPECT_EQ(x->command.sense.bytes[1], std::byte{0x05});
  EXPECT_EQ(load_be<std::uint64_t>(&x->command.sense.bytes[12]), ~0ULL);
  EXPECT_EQ(bench.a->attentions.size(), 0u);
  EXPECT_EQ(bench.b->attentions.take(), scsi::Asc::mode_parameters_changed);
}

TEST(ModeSelect, WhatCannotChange_IsRefusedAndNothingChanges) {
  ScsiBench bench;
  Octets write_cache(4);
  const Octets page = octets({0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  write_cache.insert(write_cache.end(), page.begin(), page.end());
  EXPECT_EQ(mode_select6(bench, write_cache)->asc(), 0x2600u);
  EXPECT_EQ(mode_select6(bench, control_page(0x04 | 0x02, 0))->asc(), 0x2600u);
  Octets both = control_page(0x04, 0);
  both.insert(both.end(), page.begin(), page.end());
  EXPECT_EQ(mode_select6(bench, both)->asc(), 0x2600u);
  EXPECT_EQ(mode_sense6(bench, 0x0a, 0, 8)[6], std::byte{0});
}

TEST(ModeSelect, MalformedLists_AreRefused) {
  ScsiBench bench;
  EXPECT_EQ(mode_select6(bench, {})->status(), Status::good);
  EXPECT_EQ(mode_select6(bench, Octets(3))->asc(), 0x1a00u);
  EXPECT_EQ(mode_select6(bench, octets({0, 0, 0, 8, 0, 0}))->asc(), 0x1a00u);
  EXPECT_EQ(mode_select6(bench, octets({0, 0, 0, 0, 0x0a, 0x0a, 0}))->asc(), 0x1a00u);
  EXPECT_EQ(mode_select6(bench, octets({0, 0, 0, 0, 0x3e, 0}))->asc(), 0x2600u);
  EXPECT_EQ(mode_select6(bench, control_page(0, 0), 0x11)->asc(), 0x2400u);  // SP
  EXPECT_EQ(mode_select6(bench, octets({0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0}))->asc(), 0x2600u);  // 512-byte blocks.
  EXPECT_EQ(mode_select6(bench, octets({0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0x10, 0}))->status(), Status::good);
}

TEST(LogSense, ListedPages_AllAnswer) {
  ScsiBench bench;
  const auto page = [&](int code, int subpage = 0) {
    return bench.send(bench.a, octets({0x4d, 0, 0x40 | code, subpage, 0, 0, 0, 1, 0, 0}), {}, 256);
  };
  const Octets list = page(0)->data();
  EXPECT_EQ(list, octets({0, 0, 0, 7, 0, 2, 3, 5, 0x0c, 0x0d, 0x2f}));
  for (std::size_t i = 4; i < list.size(); ++i) {
    const Octets data = page(std::to_integer<int>(list[i]))->data();
    EXPECT_EQ(load_be<std::uint16_t>(&data[2]), data.size() - 4);
  }
  EXPECT_EQ(page(0, 0xff)->data().size(), 4u + 14);
  EXPECT_EQ(page(0x11)->asc(), 0x2400u);
  bench.send(bench.a, cdb10(0x2a, 0, 3), blocks_of(1, 3));
  EXPECT_EQ(load_be<std::uint64_t>(&page(2)->data()[20]), 3u * 4096);
}

TEST(LogSense, ProvisioningPage_TellsWhatTheOperatorLetsItKnow) {
  scsi::DeviceOptions options;
  options.space = [] { return scsi::SpaceFigures{.used_blocks = 160, .available_blocks = 1600}; };
  ScsiBench bench(options);
  const Octets data = bench.send(bench.a, octets({0x4d, 0, 0x4c, 0, 0, 0, 0, 1, 0, 0}), {}, 256)->data();
  ASSERT_EQ(data.size(), 28u);
  EXPECT_EQ(load_be<std::uint32_t>(&data[8]), 100u);
  EXPECT_EQ(load_be<std::uint32_t>(&data[20]), 10u);
}

Octets report_opcodes_cdb(int options, int code = 0, int action = 0) {
  return octets({0xa3, 0x0c, options, code, action >> 8, action & 0xff, 0, 0, 0xff, 0xff, 0, 0});
}

TEST(ReportOpcodes, All_ListsTheTable) {
  ScsiBench bench;
  const Octets data = bench.send(bench.a, report_opcodes_cdb(0), {}, 65535)->data();
  EXPECT_EQ(data.size(), 4 + 8 * (scsi::opcodes().size() - 1));  // Without SET TARGET PORT GROUPS.
  const Octets timed = bench.send(bench.a, report_opcodes_cdb(0x80), {}, 65535)->data();
  EXPECT_EQ(timed.size(), 4 + 20 * (scsi::opcodes().size() - 1));
}

TEST(ReportOpcodes, One_TellsItsUsage) {
  ScsiBench bench;
  const auto one = [&](int options, int code, int action = 0) {
    return bench.send(bench.a, report_opcodes_cdb(options, code, action), {}, 256);
  };
  EXPECT_EQ(one(1, 0x28)->data(), octets({0, 3, 0, 10, 0x28, 0x18, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0}));
  EXPECT_EQ(one(1, 0x48)->data(), octets({0, 1, 0, 0}));
  EXPECT_EQ(one(1, 0x9e)->asc(), 0x2400u);
  EXPECT_EQ(one(2, 0x28)->asc(), 0x2400u);
  EXPECT_EQ(one(2, 0x9e, 0x12)->data()[4], std::byte{0x9e});
  EXPECT_EQ(one(3, 0x9e, 0x13)->data(), octets({0, 1, 0, 0}));
  EXPECT_EQ(one(2, 0x9e, 0x112)->data(), octets({0, 1, 0, 0}));
  EXPECT_EQ(one(2, 0xa4, 0x0a)->data(), octets({0, 1, 0, 0}));
  EXPECT_EQ(one(4, 0x28)->asc(), 0x2400u);
}

TEST(OpcodeTable, EntriesOfOneCode_StandTogetherAndNameTheirCode) {
  const auto table = scsi::opcodes();
  for (std::size_t i = 0; i < table.size(); ++i) {
    EXPECT_EQ(table[i].usage[0], table[i].code);
    if (i > 0) {
      EXPECT_LE(table[i - 1].code, table[i].code);
    }
    for (std::size_t j = table[i].cdb_bytes; j < 16; ++j) EXPECT_EQ(table[i].usage[j], 0);
    EXPECT_EQ(scsi::find_opcode(table[i].code, table[i].service_action), &table[i]);
  }
}

// Every single bit outside the usage mask is refused with a pointer to it.
TEST(OpcodeTable, EveryReservedBit_IsRefusedWhereItIs) {
  for (const scsi::OpcodeEntry& entry : scsi::opcodes()) {
    for (std::uint16_t at = 1; at < entry.cdb_bytes; ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        const bool action_bit = at == 1 && entry.service_action != scsi::kNoServiceAction && bit < 5;
        if ((entry.usage[at] >> bit & 1) != 0 || action_bit) continue;
        std::array<std::byte, 16> cdb{};
        cdb[0] = std::byte{entry.code};
        cdb[at] = std::byte(1 << bit);
        const scsi::Verdict verdict = scsi::check_usage(entry, cdb.data());
        EXPECT_EQ(verdict.sense.asc, scsi::Asc::invalid_field_in_cdb);
        EXPECT_EQ(verdict.sense.field_byte, at);
        EXPECT_EQ(verdict.sense.field_bit, bit);
      }
    }
  }
}

TEST(UnknownCommands, CodeOrServiceAction_AreToldApart) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, octets({0x48, 0x01, 0, 0, 0, 0, 0, 0, 0, 0}))->asc(), 0x2000u);  // SANITIZE
  EXPECT_EQ(bench.send(bench.a, octets({0x9e, 0x1f}))->asc(), 0x2400u);
  EXPECT_EQ(bench.send(bench.a, octets({0xa4, 0x0a}))->asc(), 0x2000u);
}

TEST(NothingToDo, CommandsThatChangeNothing_AreGood) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, octets({0x00, 0, 0, 0, 0, 0}))->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, octets({0x1b, 0, 0, 0, 1, 0}))->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, octets({0x1b, 0, 0, 0, 0, 0}))->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, octets({0x1b, 0, 0, 0, 2, 0}))->asc(), 0x2400u);  // Eject.
  EXPECT_EQ(bench.send(bench.a, octets({0x1e, 0, 0, 0, 1, 0}))->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, octets({0x1d, 4, 0, 0, 0, 0}))->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, octets({0x37, 0, 0x08, 0, 0, 0, 0, 0, 32, 0}), {}, 32)->data(), octets({0, 8, 0, 0}));
  EXPECT_EQ(bench.send(bench.a, octets({0xb7, 8, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}), {}, 32)->data().size(), 8u);
  EXPECT_EQ(bench.send(bench.a, octets({0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 32, 0, 0}), {}, 32)->data().size(), 16u);
}

}  // namespace
}  // namespace holdfast::test
