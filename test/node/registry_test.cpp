#include "tools/holdfastd/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace holdfast::daemon {
namespace {

using ::testing::HasSubstr;

RegistryEntry entry(const std::string& name, EntryState state = EntryState::ready) {
  RegistryEntry out;
  out.name = name;
  out.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  out.backing = "/data/volumes/" + name + ".hf";
  out.size_bytes = 1 << 20;
  out.state = state;
  return out;
}

class RegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/holdfast-registry-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(RegistryTest, PutAndRemove_AreFoundByTheNextLoad) {
  auto registry = Registry::load(folder_);
  ASSERT_TRUE(registry.has_value());
  ASSERT_TRUE(registry->put(entry("b")).has_value());
  ASSERT_TRUE(registry->put(entry("a", EntryState::creating)).has_value());
  ASSERT_TRUE(registry->put(entry("c")).has_value());
  ASSERT_TRUE(registry->remove("b").has_value());
  const auto again = Registry::load(folder_);
  ASSERT_TRUE(again.has_value()) << again.error().text();
  ASSERT_EQ(again->entries().size(), 2u);
  EXPECT_EQ(again->entries()[0].name, "a");
  EXPECT_EQ(again->entries()[0].state, EntryState::creating);
  EXPECT_EQ(again->find("c")->uuid, entry("c").uuid);
  EXPECT_EQ(again->find("b"), nullptr);
}

// A crash between writing beside and renaming: the old registry counts.
TEST_F(RegistryTest, Load_WithATornFileBeside_IsTheOldState) {
  auto registry = Registry::load(folder_);
  ASSERT_TRUE(registry->put(entry("a")).has_value());
  std::ofstream(folder_ + "/registry.json.new") << "{\"holdfast_regi";
  const auto again = Registry::load(folder_);
  ASSERT_TRUE(again.has_value());
  EXPECT_NE(again->find("a"), nullptr);
}

TEST_F(RegistryTest, Put_ThatCannotBeWritten_ChangesNothing) {
  auto registry = Registry::load(folder_);
  ASSERT_TRUE(registry->put(entry("a")).has_value());
  std::filesystem::create_directory(folder_ + "/registry.json.new");  // In the way of the new file.
  EXPECT_FALSE(registry->put(entry("b")).has_value());
  EXPECT_EQ(registry->find("b"), nullptr);
  EXPECT_EQ(Registry::load(folder_)->entries().size(), 1u);
}

TEST(RegistryText, Damage_IsRefusedWithTheReason) {
  const std::string good = registry_text({entry("a")});
  const auto with = [&](const std::string& what, const std::string& by) {
    std::string text = good;
    text.replace(text.find(what), what.size(), by);
    return text;
  };
  const std::pair<std::string, const char*> cases[] = {
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {"{}", "no format version"},
      {with(":1,", ":0,"), "no format version"},
      {with(":1,", ":3,"), "newer holdfastd"},
      {with("\"a\"", "\"../a\""), "has the name"},
      {with("01020304", "0102030"), "uuid"},
      {with("/data", "data"), "absolute"},
      {with("ready", "steady"), "no known state"},
      {with("\"file\"", "\"tape\""), "neither on a file nor on a device"},
      {with("1048576", "1048577"), "valid size"},
      {with("1048576", "-1"), "valid size"},
      {registry_text({entry("a"), entry("a")}), "twice"},
  };
  for (const auto& [text, says] : cases) {
    const auto result = parse_registry(text);
    ASSERT_FALSE(result.has_value()) << text;
    EXPECT_THAT(result.error().message, HasSubstr(says)) << text;
  }
}

}  // namespace
}  // namespace holdfast::daemon
