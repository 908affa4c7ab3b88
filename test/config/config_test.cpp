#include "tools/holdfastd/config.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace holdfast::daemon {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kMinimal = "[node]\ndata_dir = \"/var/lib/holdfast\"\n";

// A configuration with one mistake: where it is and what the message must say.
struct Mistake {
  const char* name;
  std::string text;
  unsigned line;
  const char* key;
  std::vector<std::string> says;
};
void PrintTo(const Mistake& mistake, std::ostream* out) { *out << mistake.name; }

std::string with(std::string_view more) { return std::string(kMinimal) + std::string(more); }

class ConfigMistake : public testing::TestWithParam<Mistake> {};

// Every mistake is reported with file, line and key, says what is wrong and what is allowed.
TEST_P(ConfigMistake, Parse_OneMistake_NamesFileLineAndKey) {
  const Mistake& mistake = GetParam();
  const auto result = parse_config(mistake.text, "h.toml");
  ASSERT_FALSE(result.has_value());
  ASSERT_EQ(result.error().size(), 1u) << result.error()[0].text() << "\n" << result.error().back().text();
  const ConfigError& error = result.error()[0];
  EXPECT_EQ(error.file, "h.toml");
  EXPECT_EQ(error.line, mistake.line) << error.text();
  EXPECT_EQ(error.key, mistake.key);
  for (const std::string& part : mistake.says) EXPECT_THAT(error.message, HasSubstr(part));
  EXPECT_THAT(error.text(), testing::StartsWith("h.toml"));
}

const std::string kLongName(64, 'n');

INSTANTIATE_TEST_SUITE_P(
    Sizes, ConfigMistake,
    testing::Values(
        Mistake{"DecimalUnit", with("[store]\nlog_size = \"256MB\"\n"), 4, "store.log_size", {"256MB", "did you mean MiB"}},
        Mistake{"NoUnit", with("[store]\nlog_size = \"4096\"\n"), 4, "store.log_size", {"has no unit", "KiB"}},
        Mistake{"Zero", with("[store]\nlog_size = \"0MiB\"\n"), 4, "store.log_size", {"too small", "4MiB to 64GiB"}},
        Mistake{"Negative", with("[store]\nlog_size = \"-1GiB\"\n"), 4, "store.log_size", {"is negative"}},
        Mistake{"Huge", with("[store]\nlog_size = \"65GiB\"\n"), 4, "store.log_size", {"too large", "64GiB"}},
        Mistake{"Overflow", with("[store]\nlog_size = \"99999999999999PiB\"\n"), 4, "store.log_size", {"beyond every"}},
        Mistake{"Wraps", with("[store]\nlog_size = \"16384PiB\"\n"), 4, "store.log_size", {"beyond every"}},
        Mistake{"Fraction", with("[store]\nlog_size = \"1.5GiB\"\n"), 4, "store.log_size", {"not a whole number"}},
        Mistake{"Unaligned", with("[store]\nlog_size = \"8388609B\"\n"), 4, "store.log_size", {"multiple of 4KiB"}},
        Mistake{"Integer", with("[store]\nlog_size = 4096\n"), 4, "store.log_size", {"a number", "with quotes and a unit"}},
        Mistake{"Empty", with("[store]\nlog_size = \"\"\n"), 4, "store.log_size", {"is empty"}},
        Mistake{"Words", with("[store]\nlog_size = \"big\"\n"), 4, "store.log_size", {"does not start with a number"}},
        Mistake{"MemoryUnaligned", with("memory = \"16777217B\"\n"), 3, "node.memory", {"multiple of 1MiB"}},
        Mistake{"BatchHuge", with("[store]\nlog_batch = \"1GiB\"\n"), 4, "store.log_batch", {"too large"}},
        Mistake{"RateUnaligned", with("[store]\nrebuild_rate = \"1000B\"\n"), 4, "store.rebuild_rate", {"multiple of 64KiB"}},
        Mistake{"RateNumber", with("[store]\nrebuild_rate = 100\n"), 4, "store.rebuild_rate", {"a number", "with quotes and a unit"}},
        Mistake{"CacheSmall", with("[store]\nmap_cache = \"4KiB\"\n"), 4, "store.map_cache", {"too small", "64KiB"}}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Values, ConfigMistake,
    testing::Values(
        Mistake{"Percent", with("[store]\ncheckpoint_log_percent = 100\n"), 4, "store.checkpoint_log_percent", {"5 to 90"}},
        Mistake{"Batches", with("[store]\nlog_batches_in_flight = 0\n"), 4, "store.log_batches_in_flight", {"1 to 8"}},
        Mistake{"Interval", with("[store]\ncheckpoint_interval = \"2d\"\n"), 4, "store.checkpoint_interval", {"unknown unit"}},
        Mistake{"IntervalShort", with("[store]\ncheckpoint_interval = \"1ms\"\n"), 4, "store.checkpoint_interval",
                {"too short", "100ms to 1h"}},
        Mistake{"Reactors", with("reactors = -1\n"), 3, "node.reactors", {"-1 is too small", "0 to 256"}},
        Mistake{"ReactorsText", with("reactors = \"two\"\n"), 3, "node.reactors", {"must be a number"}},
        Mistake{"Level", with("[log]\nlevel = \"loud\"\n"), 4, "log.level", {"debug, info, warning, error"}},
        Mistake{"Format", with("[log]\nformat = \"xml\"\n"), 4, "log.format", {"text, json"}},
        Mistake{"DataDirMissing", "[node]\nname = \"a\"\n", 1, "node.data_dir", {"is missing"}},
        Mistake{"DataDirRelative", "[node]\ndata_dir = \"data\"\n", 2, "node.data_dir", {"not an absolute path"}},
        Mistake{"DataDirEmpty", "[node]\ndata_dir = \"\"\n", 2, "node.data_dir", {"is empty"}},
        Mistake{"NoNode", "", 0, "node.data_dir", {"is missing"}},
        Mistake{"NodeNumber", "node = 3\n[log]\nlevel=\"info\"\n[node.x]\n", 4, "", {"not valid TOML"}},
        Mistake{"NameLong", with("name = \"" + kLongName + "\"\n"), 3, "node.name", {"1 to 63"}},
        Mistake{"ListenPort", with("[iscsi]\nlisten = [\"0.0.0.0\"]\n"), 4, "iscsi.listen", {"element 1", "has no port"}},
        Mistake{"ListenHost", with("[iscsi]\nlisten = [\"localhost:3260\"]\n"), 4, "iscsi.listen", {"no valid IP"}},
        Mistake{"ListenIpv6", with("[iscsi]\nlisten = [\"::1:3260\"]\n"), 4, "iscsi.listen", {"without brackets"}},
        Mistake{"ListenBracket", with("[iscsi]\nlisten = [\"[::1:3260\"]\n"), 4, "iscsi.listen", {"closing bracket"}},
        Mistake{"ListenPortHuge", with("[iscsi]\nlisten = [\"0.0.0.0:65536\"]\n"), 4, "iscsi.listen", {"0 to 65535"}},
        Mistake{"ListenTwice", with("[iscsi]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n"), 4, "iscsi.listen",
                {"element 2", "twice"}},
        Mistake{"ListenText", with("[iscsi]\nlisten = \"0.0.0.0:3260\"\n"), 4, "iscsi.listen", {"must be an array"}},
        Mistake{"ListenEmpty", with("[iscsi]\nlisten = []\n"), 4, "iscsi.listen", {"empty list"}},
        Mistake{"PortalAny", with("[iscsi]\nportals = [\"0.0.0.0:3260\"]\n"), 4, "iscsi.portals", {"could reach"}},
        Mistake{"PortalZero", with("[iscsi]\nportals = [\"192.0.2.1:0\"]\n"), 4, "iscsi.portals", {"port 0"}},
        Mistake{"Sessions", with("[iscsi]\nmax_sessions = 0\n"), 4, "iscsi.max_sessions", {"1 to 65536"}},
        Mistake{"Takeover", with("[iscsi]\ntakeover = \"arp\"\n"), 4, "iscsi.takeover", {"off", "tickle"}},
        Mistake{"TakeoverAlone", with("[iscsi]\ntakeover = \"tickle\"\n"), 4, "iscsi.takeover", {"no [cluster]"}},
        Mistake{"AdminOpen", with("[admin]\nlisten = \"0.0.0.0:9440\"\n"), 4, "admin.listen", {"token_file"}},
        Mistake{"AdminAddress", with("[admin]\nlisten = \"9440\"\n"), 4, "admin.listen", {"has no port"}},
        Mistake{"TokenAbsent", with("[admin]\ntoken_file = \"/nonexistent\"\n"), 4, "admin.token_file", {"cannot open"}}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Access, ConfigMistake,
    testing::Values(
        Mistake{"SecretShort", with("[iscsi.auth]\nuser = \"u\"\nsecret = \"short\"\n"), 5, "iscsi.auth.secret", {"5 bytes"}},
        Mistake{"UserAlone", with("[iscsi.auth]\nuser = \"u\"\n"), 4, "iscsi.auth.user", {"has no secret"}},
        Mistake{"SecretAlone", with("[iscsi.auth]\nsecret = \"0123456789abcdef\"\n"), 3, "iscsi.auth.user", {"is missing"}},
        Mistake{"SecretFile", with("[iscsi.auth]\nuser = \"u\"\nsecret_file = \"/nonexistent\"\n"), 5,
                "iscsi.auth.secret_file", {"cannot open"}},
        Mistake{"Reflected",
                with("[iscsi.auth]\nuser = \"u\"\nsecret = \"0123456789abcdef\"\nmutual_user = \"t\"\n"
                     "mutual_secret = \"0123456789abcdef\"\n"),
                7, "iscsi.auth.mutual_secret", {"same as secret"}},
        Mistake{"MutualAlone", with("[iscsi.auth]\nmutual_user = \"t\"\nmutual_secret = \"0123456789abcdef\"\n"), 4,
                "iscsi.auth.mutual_user", {"needs user"}},
        Mistake{"Algorithm",
                with("[iscsi.auth]\nuser = \"u\"\nsecret = \"0123456789abcdef\"\nalgorithms = [\"md4\"]\n"), 6,
                "iscsi.auth.algorithms", {"sha3-256, sha256, sha1, md5"}},
        Mistake{"Initiator", with("[iscsi.auth]\ninitiators = [\"host-1\"]\n"), 4, "iscsi.auth.initiators", {"iqn."}},
        Mistake{"VolumeName", with("[iscsi.volume.\"a/b\"]\nuser = \"u\"\nsecret = \"0123456789abcdef\"\n"), 3,
                "iscsi.volume.a/b", {"allowed: 1 to 63"}},
        Mistake{"DiscoveryInitiators", with("[iscsi.discovery]\ninitiators = [\"iqn.2026-11.x:y\"]\n"), 4,
                "iscsi.discovery.initiators", {"unknown key"}}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Keys, ConfigMistake,
    testing::Values(
        Mistake{"Typo", with("[store]\nlogsize = \"256MiB\"\n"), 4, "store.logsize", {"did you mean log_size"}},
        Mistake{"Swapped", with("[iscsi]\nlitsen = [\"127.0.0.1:1\"]\n"), 4, "iscsi.litsen", {"did you mean listen"}},
        Mistake{"Section", with("[isci]\n"), 3, "isci", {"did you mean iscsi"}},
        Mistake{"Far", with("[log]\ncolour = 3\n"), 4, "log.colour", {"unknown key", "format", "level"}},
        Mistake{"Twice", "[node]\ndata_dir = \"/a\"\ndata_dir = \"/b\"\n", 3, "", {"not valid TOML"}},
        Mistake{"Unclosed", "[node]\ndata_dir = \"/a\n", 2, "", {"not valid TOML"}},
        Mistake{"TableExpected", "log = 3\n" + std::string(kMinimal), 1, "log", {"must be a table", "[log]"}}),
    [](const auto& row) { return row.param.name; });

TEST(Config, Minimal_OnlyADataDirectory_HasTheDefaults) {
  const auto result = parse_config(kMinimal, "h.toml");
  ASSERT_TRUE(result.has_value()) << result.error()[0].text();
  const Config& config = result->config;
  EXPECT_EQ(config.node.data_dir, "/var/lib/holdfast");
  EXPECT_FALSE(config.node.name.empty());
  EXPECT_EQ(config.iscsi.listen, (std::vector<Address>{{"0.0.0.0", 3260}}));
  EXPECT_EQ(config.admin.listen.text(), "127.0.0.1:9440");
  EXPECT_EQ(config.store.log_bytes, 256ULL << 20);
  EXPECT_FALSE(config.iscsi.auth.wants_chap());
}

TEST(Config, SeveralMistakes_AllAreReported_InTheOrderOfTheFile) {
  const auto result = parse_config("[node]\nreactors = 999\n[log]\nlevel = \"x\"\n[store]\nlog_size = \"1B\"\n", "h.toml");
  ASSERT_FALSE(result.has_value());
  std::vector<std::string> keys;
  for (const ConfigError& error : result.error()) keys.push_back(error.key);
  EXPECT_THAT(keys, testing::ElementsAre("node.data_dir", "node.reactors", "log.level", "store.log_size"));
}

TEST(Config, EveryKey_WellFormed_IsRead) {
  const auto result = parse_config(with(R"(name = "pg-1"
reactors = 3
memory = "64MiB"
[iscsi]
listen = ["127.0.0.1:0", "[::1]:3261"]
portals = ["192.0.2.1:3260"]
nop_interval = "2s"
nop_timeout = "1500ms"
max_sessions = 7
[iscsi.auth]
initiators = ["iqn.1993-08.org.debian:01:abc"]
[iscsi.volume."pg.data"]
user = "pg"
secret = "0123456789abcdef"
mutual_user = "store"
mutual_secret = "fedcba9876543210"
algorithms = ["sha256", "sha3-256"]
[iscsi.discovery]
user = "d"
secret = "0123456789abcdef"
[store]
log_size = "1GiB"
map_cache = "1 GiB"
apply_backlog = "64MiB"
log_batch = "512KiB"
log_batches_in_flight = 4
checkpoint_interval = "1min"
checkpoint_log_percent = 25
consumer_retention = "512MiB"
rebuild_rate = "100MiB"
[log]
level = "debug"
format = "json"
)"),
                                   "h.toml");
  ASSERT_TRUE(result.has_value()) << result.error()[0].text();
  const Config& c = result->config;
  EXPECT_EQ(c.node.name, "pg-1");
  EXPECT_EQ(c.node.reactors, 3u);
  EXPECT_EQ(c.iscsi.listen[1].text(), "[::1]:3261");
  EXPECT_EQ(c.iscsi.nop_timeout_ms, 1500);
  ASSERT_TRUE(c.iscsi.volumes.contains("pg.data"));
  EXPECT_EQ(c.iscsi.volumes.at("pg.data").algorithms, (std::vector{ChapAlgorithm::sha256, ChapAlgorithm::sha3_256}));
  EXPECT_EQ(c.iscsi.volumes.at("pg.data").mutual_user, "store");
  EXPECT_TRUE(c.iscsi.discovery.wants_chap());
  EXPECT_EQ(c.store.map_cache_bytes, 1ULL << 30);
  EXPECT_EQ(c.store.checkpoint_interval_ms, 60'000);
  EXPECT_EQ(c.store.consumer_retention_bytes, 512ULL << 20);
  EXPECT_EQ(c.store.rebuild_bytes_per_second, 100ULL << 20);
  EXPECT_EQ(c.log.format, LogFormat::json);
}

TEST(Config, Takeover_InACluster_IsRead) {
  const std::string cluster = "[cluster]\nname = \"prod\"\nnode = 1\nlisten = [\"127.0.0.1:9441\"]\ndirectory = \"/var/lib/coordinator\"\n";
  const auto on = parse_config(with("[iscsi]\nlisten = [\"127.0.0.1:3260\"]\ntakeover = \"tickle\"\n" + cluster), "h.toml"), without = parse_config(with("[iscsi]\nlisten = [\"127.0.0.1:3260\"]\n" + cluster), "h.toml");
  ASSERT_TRUE(on.has_value()) << on.error()[0].text();
  ASSERT_TRUE(without.has_value()) << without.error()[0].text();
  EXPECT_EQ(on->config.iscsi.takeover, TakeoverMode::tickle);
  EXPECT_EQ(without->config.iscsi.takeover, TakeoverMode::off);
}

// A login compares names in lower case (RFC 7143 §4.2.7.2).
TEST(Config, InitiatorNames_InUpperCaseHex_AreKeptInLowerCase) {
  const auto result = parse_config(
      with("[iscsi.auth]\ninitiators = [\"eui.02004567A425678D\", \"naa.52004567BA64678D\", \"iqn.2026-11.x:y\"]\n"), "h.toml");
  ASSERT_TRUE(result.has_value()) << result.error()[0].text();
  EXPECT_THAT(result->config.iscsi.auth.initiators,
              testing::ElementsAre("eui.02004567a425678d", "naa.52004567ba64678d", "iqn.2026-11.x:y"));
}

class ConfigFiles : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/holdfast-config-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text, mode_t mode) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }
  std::string folder_;
};

TEST_F(ConfigFiles, SecretFile_BesideTheConfiguration_IsReadWithoutItsNewline) {
  write("secret", "0123456789abcdef\n", 0600);
  const auto path = write("h.toml", with("[iscsi.auth]\nuser = \"u\"\nsecret_file = \"secret\"\n"), 0644);
  const auto result = load_config(path);
  ASSERT_TRUE(result.has_value()) << result.error()[0].text();
  EXPECT_EQ(result->config.iscsi.auth.secret, "0123456789abcdef");
  EXPECT_TRUE(result->warnings.empty());
}

TEST_F(ConfigFiles, SecretFile_ReadableByAll_IsRefused) {
  write("secret", "0123456789abcdef\n", 0644);
  const auto result = load_config(write("h.toml", with("[iscsi.auth]\nuser = \"u\"\nsecret_file = \"secret\"\n"), 0600));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error()[0].key, "iscsi.auth.secret_file");
  EXPECT_THAT(result.error()[0].message, HasSubstr("chmod 600"));
}

TEST_F(ConfigFiles, TokenFile_AllowsAnAddressBeyondLoopback) {
  write("token", "a-token-of-some-length\n", 0600);
  const auto path = write("h.toml", with("[admin]\nlisten = \"0.0.0.0:9440\"\ntoken_file = \"token\"\n"), 0600);
  const auto result = load_config(path);
  ASSERT_TRUE(result.has_value()) << result.error()[0].text();
  EXPECT_EQ(result->config.admin.token, "a-token-of-some-length");
}

TEST_F(ConfigFiles, SecretInAWorldReadableFile_IsWarnedAbout) {
  const auto result =
      load_config(write("h.toml", with("[iscsi.auth]\nuser = \"u\"\nsecret = \"0123456789abcdef\"\n"), 0644));
  ASSERT_TRUE(result.has_value());
  ASSERT_EQ(result->warnings.size(), 1u);
  EXPECT_THAT(result->warnings[0].message, HasSubstr("chmod 600"));
}

TEST_F(ConfigFiles, Load_NoSuchFile_SaysSo) {
  const auto result = load_config(folder_ + "/none.toml");
  ASSERT_FALSE(result.has_value());
  EXPECT_THAT(result.error()[0].text(), HasSubstr("No such file"));
}

TEST_F(ConfigFiles, Load_AFolder_SaysSo) {
  const auto result = load_config(folder_);
  ASSERT_FALSE(result.has_value());
  EXPECT_THAT(result.error()[0].text(), HasSubstr("Is a directory"));
}

}  // namespace
}  // namespace holdfast::daemon
