// The rules of the house, read from the source tree itself: arrows, words that are banned above io, sizes, promises left open.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
const fs::path kSource = HOLDFAST_SOURCE;
constexpr std::size_t kFileLinesWanted = 600;
constexpr std::size_t kFileLinesMax = 700;

// docs: the table in architecture.md, section 2.
const std::map<std::string, std::set<std::string>> kArrows{
    {"base", {}},
    {"io", {"base"}},
    {"coord", {"base"}},
    {"wal", {"base"}},
    {"snapshot", {"wal", "base"}},
    {"rebuild", {"snapshot", "wal", "base"}},
    {"engine", {"rebuild", "snapshot", "wal", "base"}},
    {"scsi", {"engine", "base"}},
    {"admin", {"engine", "base"}},
    {"tools", {"admin", "scsi", "engine", "io", "coord", "base"}}};

struct Line {
  fs::path file;
  std::size_t number;
  std::string text;
};

std::vector<fs::path> sources(const std::string& room) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(kSource / room)) {
    const auto extension = entry.path().extension();
    if (entry.is_regular_file() && (extension == ".h" || extension == ".cpp")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<Line> lines_of(const fs::path& file) {
  std::vector<Line> lines;
  std::ifstream in(file);
  for (std::string text; std::getline(in, text);) lines.push_back({fs::relative(file, kSource), lines.size() + 1, text});
  return lines;
}

std::string where(const Line& line) {
  std::ostringstream out;
  out << line.file.string() << ":" << line.number << ": " << line.text;
  return out.str();
}

// Comments may name what code may not use.
std::string code_of(const std::string& text) { return text.substr(0, text.find("//")); }

TEST(House, Includes_OfEveryRoom_FollowTheArrows) {
  const std::regex include(R"re(^\s*#include\s+"([a-z]+)/)re");
  for (const auto& [room, arrows] : kArrows) {
    for (const fs::path& file : sources(room)) {
      for (const Line& line : lines_of(file)) {
        std::smatch match;
        if (!std::regex_search(line.text, match, include)) continue;
        const std::string to = match[1];
        EXPECT_TRUE(to == room || arrows.contains(to)) << where(line) << "\n  has no arrow from " << room << " to " << to;
      }
    }
  }
}

TEST(House, Scsi_FromTheEngine_SeesOnlyItsBorder) {
  for (const fs::path& file : sources("scsi"))
    for (const Line& line : lines_of(file))
      if (line.text.starts_with("#include \"engine/")) {
        EXPECT_EQ(line.text, "#include \"engine/volume.h\"") << where(line);
      }
}

// Shared by the doors of all threads, off the path of an I/O.
bool excepted(const Line& line) {
  return line.file == "scsi/target_directory.h" || line.file == "scsi/target_directory.cpp";
}

// Time, chance and threads come through ports, or a seed would not replay.
TEST(House, RoomsAboveIo_BannedWords_AreAbsent) {
  const std::vector<std::regex> banned{
      std::regex(R"(\b(steady_clock|system_clock|high_resolution_clock|clock_gettime|gettimeofday)\b)"),
      std::regex(R"(\b(rand|srand|random_device|mt19937)\b\s*[({;])"),
      std::regex(R"(\bstd::(thread|jthread|mutex|condition_variable)\b)"),
      std::regex(R"(\b(sleep|usleep|nanosleep|sleep_for|sleep_until)\s*\()"),
      std::regex(R"(\bstd::(unordered_)?(map|set)<[A-Za-z_:]+\s*\*)")};
  for (const std::string room : {"wal", "snapshot", "rebuild", "engine", "scsi"})
    for (const fs::path& file : sources(room))
      for (const Line& line : lines_of(file))
        for (const std::regex& word : banned)
          EXPECT_TRUE(!std::regex_search(code_of(line.text), word) || excepted(line)) << where(line);
}

// A lambda's captures die with the lambda, before its coroutine does.
TEST(House, LambdaCoroutines_ThatCapture_AreAbsent) {
  const std::regex lambda(R"(\[[^\]]+\]\s*(\([^)]*\))?\s*(mutable\s*)?->\s*Task<)");
  for (const auto& [room, arrows] : kArrows)
    for (const fs::path& file : sources(room))
      for (const Line& line : lines_of(file)) EXPECT_FALSE(std::regex_search(code_of(line.text), lambda)) << where(line);
}

// GCC 12 destroys what a co_await inside of a conditional expression returns twice: two statements are safe.
TEST(House, ConditionalExpressions_WithCoAwait_AreAbsent) {
  const std::regex conditional(R"(\?[^?;]*\bco_await\b[^;]*:|\?[^?;]*[^:]:\s*co_await\b)");
  for (const auto& [room, arrows] : kArrows)
    for (const fs::path& file : sources(room))
      for (const Line& line : lines_of(file)) EXPECT_FALSE(std::regex_search(code_of(line.text), conditional)) << where(line);
}

TEST(House, Files_TooLong_AreListed) {
  for (const auto& [room, arrows] : kArrows)
    for (const fs::path& file : sources(room)) {
      const std::size_t lines = lines_of(file).size();
      EXPECT_LE(lines, kFileLinesMax) << fs::relative(file, kSource);
      if (lines > kFileLinesWanted) std::printf("long file: %s has %zu lines\n", fs::relative(file, kSource).c_str(), lines);
    }
}

TEST(House, OpenPromises_InCode_AreAbsent) {
  const std::regex mark(R"(\b(TO)(DO)\b|\bFIX(ME)\b|\bX(XX)\b)");
  for (const auto& [room, arrows] : kArrows)
    for (const fs::path& file : sources(room))
      for (const Line& line : lines_of(file)) EXPECT_FALSE(std::regex_search(line.text, mark)) << where(line);
}

// What lies on disk or on the wire states its size.
TEST(House, FormatHeaders_EveryStruct_AssertsItsSize) {
  const std::regex structure(R"(^struct ([A-Za-z0-9]+) \{)");
  for (const std::string room : {"wal", "snapshot"})
    for (const fs::path& file : sources(room)) {
      if (!file.filename().string().ends_with("_format.h")) continue;
      std::stringstream whole;
      whole << std::ifstream(file).rdbuf();
      for (const Line& line : lines_of(file)) {
        std::smatch match;
        if (!std::regex_search(line.text, match, structure)) continue;
        const std::string wanted = "static_assert(sizeof(" + match[1].str() + ")";
        EXPECT_NE(whole.str().find(wanted), std::string::npos) << where(line) << " lacks " << wanted;
      }
    }
}

TEST(House, Documents_LinksToFiles_Resolve) {
  const std::regex link(R"(\]\(([^)#:]+)(#[^)]*)?\))");
  std::vector<fs::path> documents;
  for (const auto& entry : fs::directory_iterator(kSource))
    if (entry.path().extension() == ".md") documents.push_back(entry.path());
  if (fs::exists(kSource / "docs"))
    for (const auto& entry : fs::recursive_directory_iterator(kSource / "docs"))
      if (entry.path().extension() == ".md") documents.push_back(entry.path());
  for (const fs::path& document : documents)
    for (const Line& line : lines_of(document))
      for (auto it = std::sregex_iterator(line.text.begin(), line.text.end(), link); it != std::sregex_iterator(); ++it)
        EXPECT_TRUE(fs::exists(document.parent_path() / (*it)[1].str())) << where(line);
}

}  // namespace
