// The command line against a real node: what it prints and how it exits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include <filesystem>

#include "test/cli/daemon.h"

namespace holdfast::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class Commands : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(daemon_.ready()) << daemon_.program().err(); }
  TemporaryFolder folder_;
  Daemon daemon_{folder_};
};

TEST_F(Commands, Volume_CreatedListedShownDeleted_IsGoneAtTheEnd) {
  const Ended made = daemon_.holdfast({"volume", "create", "pg", "--size", "64MiB"});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("iqn.2026-11.io.holdfast:pg"));
  EXPECT_THAT(daemon_.holdfast({"volume", "list"}).out, HasSubstr("pg    64 MiB"));
  EXPECT_EQ(daemon_.holdfast({"volume", "list", "--names"}).out, "pg\n");
  EXPECT_THAT(daemon_.holdfast({"volume", "show", "pg"}).out, HasSubstr("serving"));
  EXPECT_TRUE(std::filesystem::exists(folder_.path() + "/data/volumes/pg.hf"));
  const Ended gone = daemon_.holdfast({"volume", "delete", "pg", "--yes"});
  EXPECT_EQ(gone.code, 0) << gone.err;
  EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/data/volumes/pg.hf"));
  EXPECT_THAT(daemon_.holdfast({"volume", "list"}).out, StartsWith("No volumes."));
}

TEST_F(Commands, Json_IsTheNodesAnswer) {
  daemon_.holdfast({"volume", "create", "pg", "--size", "64MiB"});
  const Ended shown = daemon_.holdfast({"--json", "volume", "show", "pg"});
  const auto volume = boost::json::parse(shown.out).as_object();
  EXPECT_EQ(volume.at("size_bytes").to_number<std::uint64_t>(), 64ULL << 20);
  EXPECT_EQ(volume.at("log").at("bytes").to_number<std::uint64_t>(), 4ULL << 20);
}

TEST_F(Commands, Create_AnExistingName_IsRefusedByTheNode) {
  daemon_.holdfast({"volume", "create", "pg", "--size", "64MiB"});
  const Ended again = daemon_.holdfast({"volume", "create", "pg", "--size", "64MiB"});
  EXPECT_EQ(again.code, 1);
  EXPECT_THAT(again.err, HasSubstr("name: there is a volume \"pg\" already"));
}

TEST_F(Commands, Create_WrongNamesAndSizes_AreUsageErrors) {
  for (const char* name : {"a/b", "", "PG", "../x", "-x", "x-", "a b"}) {
    EXPECT_EQ(daemon_.holdfast({"volume", "create", "--size", "1GiB", "--", name}).code, 2) << name;
  }
  for (const char* size : {"0MiB", "-1GiB", "1GB", "10", "1048577B", "2PiB", "99999999999999999999GiB", "1.5GiB", "64KiB"}) {
    const Ended refused = daemon_.holdfast({"volume", "create", "pg", std::string("--size=") + size});
    EXPECT_EQ(refused.code, 2) << size;
    EXPECT_THAT(refused.err, HasSubstr("size")) << size;
  }
  EXPECT_EQ(daemon_.holdfast({"volume", "list", "--names"}).out, "");
}

TEST_F(Commands, Create_OnSomethingThatIsNoDevice_IsRefusedAndTheFileUntouched) {
  const std::string file = folder_.write("precious", "data");
  const Ended refused = daemon_.holdfast({"volume", "create", "pg", "--size", "64MiB", "--device", file});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("not a block device"));
  EXPECT_EQ(read_text(file), "data");
}

TEST_F(Commands, Create_WhereAFileIsInTheWay_IsRefusedAndTheFileUntouched) {
  const std::string file = folder_.write("data/volumes/pg.hf", "data");
  const Ended refused = daemon_.holdfast({"volume", "create", "pg", "--size", "64MiB"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("exists already"));
  EXPECT_EQ(read_text(file), "data");
  EXPECT_EQ(daemon_.holdfast({"volume", "list", "--names"}).out, "");
}

TEST_F(Commands, Delete_WithoutAConfirmationOrATerminal_DeletesNothing) {
  daemon_.holdfast({"volume", "create", "pg", "--size", "64MiB"});
  const Ended refused = daemon_.holdfast({"volume", "delete", "pg"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("--yes"));
  EXPECT_EQ(daemon_.holdfast({"volume", "list", "--names"}).out, "pg\n");
}

TEST_F(Commands, UnknownVolume_IsRefusedByTheNode) {
  EXPECT_EQ(daemon_.holdfast({"volume", "show", "nope"}).code, 1);
  EXPECT_EQ(daemon_.holdfast({"volume", "delete", "nope", "--yes"}).code, 1);
}

TEST_F(Commands, Server_NotThere_IsUnreachable) {
  const Ended lost = daemon_.holdfast({"--server", "127.0.0.1:1", "status"});
  EXPECT_EQ(lost.code, 3);
  EXPECT_THAT(lost.err, HasSubstr("Connection refused"));
  EXPECT_THAT(lost.err, HasSubstr("HOLDFAST_SERVER"));
  EXPECT_EQ(daemon_.holdfast({"--server", "https://127.0.0.1", "status"}).code, 2);
  EXPECT_EQ(daemon_.holdfast({"--server", "127.0.0.1:99999", "status"}).code, 2);
}

TEST_F(Commands, Completion_IsABashScript) {
  const std::string script = folder_.write("completion.bash", daemon_.holdfast({"completion", "bash"}).out);
  EXPECT_EQ(Program(folder_.path(), {"/bin/bash", "-n", script}).wait().code, 0);
}

TEST(Token, Configured_IsAskedForAndAccepted) {
  TemporaryFolder folder;
  const std::string token = folder.write("token", "0123456789abcdef0123\n", 0600);
  DaemonOptions options;
  options.more_admin = "token_file = \"" + token + "\"";
  Daemon daemon(folder, options);
  ASSERT_TRUE(daemon.ready()) << daemon.program().err();
  const Ended refused = daemon.holdfast({"status"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("--token-file"));
  EXPECT_EQ(daemon.holdfast({"--token-file", token, "status"}).code, 0);
  EXPECT_EQ(daemon.holdfast({"status"}, {{"HOLDFAST_TOKEN_FILE", token}}).code, 0);
}

}  // namespace
}  // namespace holdfast::cli
