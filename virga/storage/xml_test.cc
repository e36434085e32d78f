#include "virga/storage/xml.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::Pair;

std::vector<std::pair<std::string, std::string>> elements(std::string_view document) {
  std::vector<std::pair<std::string, std::string>> found;
  read_xml(document, [&](std::string_view path, const std::string& text) { found.emplace_back(path, text); });
  return found;
}

TEST(Xml, HandsOverElementsAsTheyEnd) {
  EXPECT_THAT(elements("\n<?xml version=\"1.0\"?>\n<!-- <c> --><a x=\"1>2\" y='/'><b>1</b>t<b/><c "
                       ">&lt;&#65;&#x20AC;<![CDATA[<&]]></c ></a>\n"),
              ElementsAre(Pair("a/b", "1"), Pair("a/b", ""), Pair("a/c", "<A\u20AC<&"), Pair("a", "t")));
}

TEST(Xml, RefusesWhatIsNone) {
  for (const std::string document : {"",
                                     "text",
                                     "<a>",
                                     "</a>",
                                     "<a></b>",
                                     "<a/><b/>",
                                     "<a><b></a></b>",
                                     "<a",
                                     "<a x='>",
                                     "<a>&nbsp;</a>",
                                     "<a>&#0;</a>",
                                     "<a>&#xD800;</a>",
                                     "<a>&</a>",
                                     "<!DOCTYPE a><a/>",
                                     "<a>text</a>text",
                                     "< a/>",
                                     "<a><![CDATA[</a>",
                                     "<!-- ",
                                     "<ab></b>",
                                     "<a/x>"}) {
    EXPECT_THROW(std::ignore = elements(document), Error) << document;
  }
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  EXPECT_THROW(std::ignore = elements(deep), Error);
}

TEST(Xml, ReadsWhatItHasEscaped) {
  const std::string text = "a<b>&\"'c";
  EXPECT_THAT(elements("<a>" + xml_escape(text) + "</a>"), ElementsAre(Pair("a", text)));
}

}  // namespace
}  // namespace virga
