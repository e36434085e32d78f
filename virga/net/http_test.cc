#include "virga/net/http.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Http, FindsAHeaderWhateverItsCase) {
  const std::vector<HttpHeader> headers = {{"Content-Type", "a"}, {"content-type", "b"}, {"X-Empty", ""}};
  EXPECT_EQ(*find_header(headers, "CONTENT-TYPE"), "a");
  EXPECT_EQ(*find_header(headers, "x-empty"), "");
  EXPECT_EQ(find_header(headers, "Content-Typ"), nullptr);
  EXPECT_EQ(find_header(headers, "X-Emptyy"), nullptr);
}

TEST(Http, DecodesWhatItHasEncoded) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(percent_decode(percent_encode(all)), all);
  EXPECT_EQ(percent_decode(percent_encode(all, /*keep_slash=*/true)), all);
  EXPECT_EQ(percent_encode("a b/c~d+e$\xC3\xA9"), "a%20b%2Fc~d%2Be%24%C3%A9");
  EXPECT_EQ(percent_encode("/a/b", /*keep_slash=*/true), "/a/b");
  EXPECT_EQ(percent_decode("%c3%A9+%00"), std::string("\xC3\xA9+\0", 4));
}

TEST(Http, RefusesWhatIsNotEncoded) {
  for (const auto* text : {"%", "a%", "a%2", "%2x", "%x2", "%%20", "%-1"}) {
    try {
      static_cast<void>(percent_decode(text));
      ADD_FAILURE() << "taken: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    }
  }
}

TEST(Http, CutsATargetIntoPathAndQuery) {
  EXPECT_EQ(path_of("/a/b?c=d?e"), "/a/b");
  EXPECT_EQ(path_of("/a"), "/a");
  EXPECT_EQ(path_of("?"), "");
  EXPECT_THAT(query_of("/a?b=c&b=d%26e=f&g&=h&&i=j=k"),
              ElementsAre(HttpHeader{"b", "c"}, HttpHeader{"b", "d&e=f"}, HttpHeader{"g", ""}, HttpHeader{"", "h"},
                          HttpHeader{"i", "j=k"}));
  EXPECT_THAT(query_of("/a"), IsEmpty());
  EXPECT_THAT(query_of("/a?"), IsEmpty());
  EXPECT_THROW(static_cast<void>(query_of("/a?b=%")), Error);
}

}  // namespace
}  // namespace virga
