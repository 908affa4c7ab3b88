#include "tools/holdfast/client.h"

#include <gtest/gtest.h>

#include "tools/holdfast/table.h"

namespace holdfast::cli {
namespace {

TEST(ServerUrl, Parse_AllForms_AreUnderstood) {
  EXPECT_EQ(parse_server_url("http://10.0.0.1:1234").value().text(), "http://10.0.0.1:1234");
  EXPECT_EQ(parse_server_url("10.0.0.1").value().text(), "http://10.0.0.1:9440");
  EXPECT_EQ(parse_server_url("node-1:80/").value().text(), "http://node-1:80");
  EXPECT_EQ(parse_server_url("http://[::1]:5").value().text(), "http://[::1]:5");
  EXPECT_EQ(parse_server_url("[::1]").value().text(), "http://[::1]:9440");
}

TEST(ServerUrl, Parse_Nonsense_IsRefused) {
  for (const char* text : {"", "http://", "https://x", "ftp://x", "x:", "x:0", "x:65536", "x:1x", "http://x/v1", "[::1", "[::1]x",
                           "[::1]:", "a b", "user@x", "::1"}) {
    EXPECT_FALSE(parse_server_url(text).has_value()) << text;
  }
}

TEST(Table, Text_ColumnsAreAligned_AndLinesEndWithoutSpaces) {
  Table table({{"NAME", Align::left}, {"SIZE", Align::right}, {"STATE", Align::left}});
  table.add({"a", "1 GiB", "ok"});
  table.add({"longer", "10 GiB", ""});
  EXPECT_EQ(table.text(),
            "NAME      SIZE  STATE\n"
            "a        1 GiB  ok\n"
            "longer  10 GiB\n");
}

}  // namespace
}  // namespace holdfast::cli
