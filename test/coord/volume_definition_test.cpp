#include "coord/volume_definition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast::coord {
namespace {

using ::testing::HasSubstr;

VolumeDefinition full_definition() {
  VolumeDefinition out;
  out.name = "pg";
  out.group[0] = 0xab;
  out.volume[15] = 0xcd;
  out.size_bytes = 10ULL << 30;
  out.log_bytes = 256ULL << 20;
  out.device = "/dev/disk/by-partlabel/pg";
  out.state = DefinitionState::ready;
  out.founder = NodeId(2);
  out.min_in_sync = 2;
  out.lease_ms = 600;
  Uuid incarnation{};
  incarnation[3] = 7;
  out.members = {{NodeId(1), incarnation, true}, {NodeId(2), Uuid{}}, {NodeId(4), incarnation}};
  out.replacement = Replacement{NodeId(1), NodeId(4)};
  out.trouble = "node 2: no space: the log needs 256MiB";
  return out;
}

std::string changed(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  if (at != text.npos) text.replace(at, from.size(), to);
  return text;
}

TEST(VolumeDefinition, EncodedAndDecoded_IsTheSame) {
  const VolumeDefinition definition = full_definition();
  const auto read = decode_definition("pg", encode_definition(definition));
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(*read, definition);
  VolumeDefinition least;
  least.name = "x";
  least.size_bytes = 64 << 10;
  least.log_bytes = 4 << 20;
  least.founder = NodeId(1);
  const auto again = decode_definition("x", encode_definition(least));
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(*again, least);
}

TEST(VolumeDefinition, NewerFormat_IsRefusedAsSuch_AndUnknownMembersAreNot) {
  const std::string text = encode_definition(full_definition());
  const auto newer = decode_definition("pg", changed(text, "\"format\":1", "\"format\":2"));
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code, Errc::version_too_new);
  EXPECT_TRUE(decode_definition("pg", changed(text, "\"format\":1", "\"format\":1,\"colour\":\"red\"")));
}

TEST(VolumeDefinition, WhatIsWrong_IsNamed) {
  const std::string text = encode_definition(full_definition());
  const struct {
    std::string_view from, to, names;
  } cases[] = {
      {"\"size_bytes\":10737418240", "\"size_bytes\":1", "size_bytes"},
      {"\"state\":\"ready\"", "\"state\":\"odd\"", "state"},
      {"\"founder\":2", "\"founder\":0", "founder"},
      {"\"min_in_sync\":2", "\"min_in_sync\":9", "min_in_sync"},
      {"\"node\":2", "\"node\":1", "members"},
      {"\"to\":4", "\"to\":70000", "replacement"},
      {"\"group\":\"ab", "\"group\":\"xy", "group"},
      {"\"offered\":true", "\"offered\":1", "members"},
      {"\"device\":\"", "\"device\":3,\"d\":\"", "device"},
  };
  for (const auto& c : cases) {
    const auto read = decode_definition("pg", changed(text, c.from, c.to));
    ASSERT_FALSE(read) << c.to;
    EXPECT_EQ(read.error().code, Errc::corrupt) << c.to;
    EXPECT_THAT(read.error().message, HasSubstr(c.names)) << c.to;
  }
  for (const char* odd : {"", "null", "[]", "{}", "{\"format\":1", "7"}) EXPECT_FALSE(decode_definition("pg", odd)) << odd;
}

}  // namespace
}  // namespace holdfast::coord
