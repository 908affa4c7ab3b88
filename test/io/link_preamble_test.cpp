// The first words of a connection: what is said is read as it was said, and anything else is refused by name.
#include "io/link_preamble.h"

#include <gtest/gtest.h>

#include <cstring>

#include "io/link_security.h"

namespace holdfast::io {
namespace {

LinkHello some_hello() { return {"prod", Uuid{9, 8, 7}, NodeId(2), NodeId(1)}; }

Bytes body_of_preamble(const std::vector<std::byte>& whole) { return Bytes(whole).subspan(sizeof(PreambleHeader)); }

Result<Preamble> fixed_of(const std::vector<std::byte>& whole) { return decode_preamble(Bytes(whole).first<sizeof(PreambleHeader)>()); }

TEST(LinkPreamble, Hello_IsReadAsItWasSaid) {
  const auto bytes = encode_hello(some_hello());
  const auto fixed = fixed_of(bytes);
  ASSERT_TRUE(fixed.has_value()) << fixed.error().text();
  EXPECT_EQ(fixed->kind, PreambleKind::hello);
  EXPECT_EQ(fixed->version, kPreambleVersion);
  ASSERT_EQ(fixed->body_bytes, body_of_preamble(bytes).size());
  const auto hello = decode_hello(body_of_preamble(bytes));
  ASSERT_TRUE(hello.has_value()) << hello.error().text();
  EXPECT_EQ(hello->cluster, "prod");
  EXPECT_EQ(hello->group, some_hello().group);
  EXPECT_EQ(hello->from, NodeId(2));
  EXPECT_EQ(hello->to, NodeId(1));
}

TEST(LinkPreamble, Answer_IsReadAsItWasSaid_AndPrintable) {
  const auto bytes = encode_link_answer({Verdict::wrong_cluster, "this is \x1b[2Jtest\n"});
  const auto answer = decode_link_answer(body_of_preamble(bytes));
  ASSERT_TRUE(answer.has_value()) << answer.error().text();
  EXPECT_EQ(answer->verdict, Verdict::wrong_cluster);
  EXPECT_EQ(answer->reason, "this is ?[2Jtest?");
  const auto welcome = decode_link_answer(body_of_preamble(encode_link_answer({})));
  ASSERT_TRUE(welcome.has_value());
  EXPECT_EQ(welcome->verdict, Verdict::welcome);
}

TEST(LinkPreamble, Answer_WithTooLongAReason_IsCut) {
  const auto bytes = encode_link_answer({Verdict::unknown_group, std::string(5000, 'x')});
  const auto answer = decode_link_answer(body_of_preamble(bytes));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->reason.size(), kReasonBytesMax);
}

// A later version may say other things, but says its version in the same place: it must be answered, not dropped.
TEST(LinkPreamble, Header_OfANewerVersion_IsStillRead) {
  auto bytes = encode_hello(some_hello());
  bytes[4] = std::byte{7};
  const auto fixed = fixed_of(bytes);
  ASSERT_TRUE(fixed.has_value());
  EXPECT_EQ(fixed->version, 7);
}

TEST(LinkPreamble, Header_OfSomethingElse_IsRefused) {
  const auto honest = encode_hello(some_hello());
  struct Change {
    std::size_t offset;
    unsigned char value;
  };
  for (const Change change : {Change{0, 'X'}, Change{4, 0}, Change{6, 0}, Change{6, 3}, Change{9, 3}, Change{11, 0x80}, Change{12, 1}}) {
    auto bytes = honest;
    bytes[change.offset] = std::byte{change.value};
    const auto fixed = fixed_of(bytes);
    EXPECT_FALSE(fixed.has_value()) << change.offset;
    if (!fixed) {
      EXPECT_EQ(fixed.error().code, Errc::protocol);
    }
  }
}

TEST(LinkPreamble, Hello_ThatContradictsItself_IsRefused) {
  const auto whole = encode_hello(some_hello());
  const Bytes honest = body_of_preamble(whole);
  for (std::size_t bytes = 0; bytes < honest.size(); ++bytes) EXPECT_FALSE(decode_hello(honest.first(bytes)).has_value()) << bytes;
  const auto changed = [&](std::size_t offset, unsigned char value) {
    std::vector<std::byte> body(honest.begin(), honest.end());
    body[offset] = std::byte{value};
    return decode_hello(body);
  };
  EXPECT_FALSE(changed(16, 0));       // From node 0.
  EXPECT_FALSE(changed(18, 1));       // From node 65538.
  EXPECT_FALSE(changed(16, 1));       // From the node that it is for.
  EXPECT_FALSE(changed(24, 0));       // To node 0.
  EXPECT_FALSE(changed(32, 0));       // A cluster without a name.
  EXPECT_FALSE(changed(32, 5));       // Longer than it is.
  EXPECT_FALSE(changed(33, 0xff));
  EXPECT_FALSE(changed(34, 1));       // Reserved.
  EXPECT_FALSE(changed(40, '/'));     // "/rod" is no name.
  EXPECT_TRUE(changed(40, 'P'));
}

TEST(LinkPreamble, Answer_ThatContradictsItself_IsRefused) {
  const auto whole = encode_link_answer({Verdict::unknown_group, "later"});
  const Bytes honest = body_of_preamble(whole);
  for (std::size_t bytes = 0; bytes < honest.size(); ++bytes) EXPECT_FALSE(decode_link_answer(honest.first(bytes)).has_value()) << bytes;
  const auto changed = [&](std::size_t offset, unsigned char value) {
    std::vector<std::byte> body(honest.begin(), honest.end());
    body[offset] = std::byte{value};
    return decode_link_answer(body);
  };
  EXPECT_FALSE(changed(0, 0));   // No verdict.
  EXPECT_FALSE(changed(0, 1));   // A welcome with a reason.
  EXPECT_FALSE(changed(3, 9));   // A reason longer than it may be.
  EXPECT_FALSE(changed(4, 1));   // Reserved.
  const auto unknown = changed(0, 99);
  ASSERT_TRUE(unknown.has_value());  // A refusal of times to come.
  EXPECT_EQ(errc_of(unknown->verdict), Errc::permission);
}

TEST(LinkNames, NodeUri_HasOneSpelling) {
  EXPECT_EQ(node_uri({"prod", NodeId(3)}), "holdfast://prod/node/3");
  const auto read = parse_node_uri("holdfast://a.b-c_D9/node/65535");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->cluster, "a.b-c_D9");
  EXPECT_EQ(read->node, NodeId(65'535));
  for (const char* other : {"", "holdfast://", "holdfast://prod", "holdfast://prod/node", "holdfast://prod/node/", "holdfast://prod/node/0",
                            "holdfast://prod/node/01", "holdfast://prod/node/+1", "holdfast://prod/node/1/", "holdfast://prod/node/1 ",
                            "holdfast://prod/node/65536", "holdfast://prod/node/99999999999999999999", "holdfast:///node/1", "HOLDFAST://prod/node/1",
                            "holdfast://pr%6fd/node/1", "holdfast://prod:1/node/1", "holdfast://x@prod/node/1", "https://prod/node/1"})
    EXPECT_FALSE(parse_node_uri(other).has_value()) << other;
  EXPECT_FALSE(parse_node_uri(std::string_view("holdfast://prod/node/1\0", 23)).has_value());
}

TEST(LinkNames, ClusterName_ThatIsNone_IsRefusedAndSaysWhy) {
  for (const std::string& name : {std::string(), std::string(64, 'a'), std::string("a/b"), std::string("-a"), std::string("a b"), std::string("\xc3\xa9")}) {
    const auto checked = check_cluster_name(name);
    ASSERT_FALSE(checked.has_value()) << name;
    EXPECT_EQ(checked.error().code, Errc::invalid_argument);
    EXPECT_NE(checked.error().message.find("cluster"), std::string::npos);
  }
  EXPECT_TRUE(check_cluster_name(std::string(63, 'a')).has_value());
}

}  // namespace
}  // namespace holdfast::io
