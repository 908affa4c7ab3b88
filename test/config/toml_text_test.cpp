// toml++ 3.3 looks for white space with a function that takes most of Unicode for impossible: found by the configuration's
// fuzzer as undefined behaviour. Such characters are refused before it sees them, where it would look.
#include "tools/holdfastd/toml_text.h"

#include <gtest/gtest.h>

#include "tools/holdfastd/config.h"

namespace holdfast::daemon {
namespace {

TEST(TomlText, CharactersOutsideAscii_InCommentsAndTextsOnOneLine_MayStand) {
  for (const std::string_view text : {"", "# é\n", "a = \"é\" # ü\nb = 'ö'\n", "a = \"\\\"é\"", "\xef\xbb\xbf" "a = 1\n", "# é"})
    EXPECT_EQ(line_of_stray_character(text), std::nullopt) << text;
}

TEST(TomlText, CharactersOutsideAscii_Elsewhere_AreFoundWithTheirLine) {
  EXPECT_EQ(line_of_stray_character("é = 1"), 1u);
  EXPECT_EQ(line_of_stray_character("a = 1\n[é]\n"), 2u);
  EXPECT_EQ(line_of_stray_character("a = \"x\" é\n"), 1u);
  EXPECT_EQ(line_of_stray_character("a = \"never closed\nb = é\n"), 2u);
  EXPECT_EQ(line_of_stray_character("a = 'x\\'é'\n"), 1u);
  EXPECT_EQ(line_of_stray_character("a = \"\"\"x\n\\\n  é\"\"\"\n"), 3u);
  EXPECT_EQ(line_of_stray_character("a = \"\"\"# \\\"\"\" \\é"), 1u);
  EXPECT_EQ(line_of_stray_character("a = '''é'''"), 1u);
}

TEST(TomlText, StrayCharacter_InAConfiguration_IsAMistakeWithItsLine) {
  const auto result = parse_config("[node]\ndata_dir = \"/var/lib/holdfast\"\nreactors = \xef\xbb\x9f\n", "h.toml");
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error()[0].line, 3u);
}

}  // namespace
}  // namespace holdfast::daemon
