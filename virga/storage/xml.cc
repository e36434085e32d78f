#include "virga/storage/xml.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <vector>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::size_t kDeepest = 16;
constexpr std::size_t kLongestName = 200;
constexpr std::string_view kBlank = " \t\r\n";

[[noreturn]] void refuse(const char* why) {
  throw Error(ErrorKind::kBadData, std::string("not XML as S3 sends it: ") + why);
}

void append_utf8(std::string& text, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xE0 | code >> 12);
    } else {
      put(0xF0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3F));
    }
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

/// `name`: what stands between '&' and ';'.
void append_entity(std::string& text, std::string_view name) {
  if (name == "lt") return text.push_back('<');
  if (name == "gt") return text.push_back('>');
  if (name == "amp") return text.push_back('&');
  if (name == "quot") return text.push_back('"');
  if (name == "apos") return text.push_back('\'');
  if (!name.starts_with('#')) refuse("an entity that it does not define");
  const bool is_hex = name.starts_with("#x");
  name.remove_prefix(is_hex ? 2 : 1);
  std::uint32_t code = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), code, is_hex ? 16 : 10);
  const bool is_half = code >= 0xD800 && code < 0xE000;  // of a pair
  if (error != std::errc() || end != name.data() + name.size() || code == 0 || code > 0x10FFFF || is_half) {
    refuse("a character reference that is none");
  }
  append_utf8(text, code);
}

bool is_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= kLongestName && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.' || c == ':';
  });
}

class XmlReader {
 public:
  XmlReader(std::string_view document, const OnXmlElement& on_element) : rest_(document), on_element_(on_element) {}

  void read() {
    if (rest_.starts_with("\xEF\xBB\xBF")) rest_.remove_prefix(3);
    bool has_root = false;
    while (!rest_.empty()) {
      if (rest_.front() != '<') {
        text();
      } else if (skip("<!--", "-->") || skip("<?", "?>")) {
        continue;
      } else if (rest_.starts_with("<![CDATA[")) {
        cdata();
      } else if (rest_.starts_with("<!")) {
        refuse("a document type");
      } else if (rest_.starts_with("</")) {
        close(until(2, '>'));
      } else {
        if (open_.empty() && has_root) refuse("more than one root");
        has_root = true;
        open();
      }
    }
    if (!has_root) refuse("there is no element");
    if (!open_.empty()) refuse("it ends within an element");
  }

 private:
  struct Element {
    std::size_t path_size = 0;  // of its parent
    std::string text;
  };

  bool skip(std::string_view begin, std::string_view end) {
    if (!rest_.starts_with(begin)) return false;
    const auto at = rest_.find(end, begin.size());
    if (at == std::string_view::npos) refuse("it ends within a comment or an instruction");
    rest_.remove_prefix(at + end.size());
    return true;
  }

  /// What follows the first `skipped` bytes up to `end`, which is passed over too.
  std::string_view until(std::size_t skipped, char end) {
    const auto at = rest_.find(end, skipped);
    if (at == std::string_view::npos) refuse("it ends within a tag");
    const auto found = rest_.substr(skipped, at - skipped);
    rest_.remove_prefix(at + 1);
    return found;
  }

  void text() {
    const auto piece = rest_.substr(0, rest_.find('<'));
    rest_.remove_prefix(piece.size());
    if (open_.empty()) {
      if (piece.find_first_not_of(kBlank) != std::string_view::npos) refuse("text outside of its root");
      return;
    }
    auto& to = open_.back().text;
    for (std::size_t at = 0; at < piece.size();) {
      const auto entity = piece.find('&', at);
      to.append(piece.substr(at, entity - at));
      if (entity == std::string_view::npos) return;
      const auto end = piece.find(';', entity);
      if (end == std::string_view::npos || end - entity > 12) refuse("an '&' that begins no entity");
      append_entity(to, piece.substr(entity + 1, end - entity - 1));
      at = end + 1;
    }
  }

  void cdata() {
    constexpr std::size_t kBegin = 9;
    const auto end = rest_.find("]]>", kBegin);
    if (end == std::string_view::npos || open_.empty()) refuse("a CDATA section that does not end or has no element");
    open_.back().text.append(rest_.substr(kBegin, end - kBegin));
    rest_.remove_prefix(end + 3);
  }

  void open() {
    const auto name_end = std::min(rest_.find_first_of(" \t\r\n/>", 1), rest_.size());
    const auto name = rest_.substr(1, name_end - 1);
    if (!is_name(name)) refuse("a tag without a name");
    rest_.remove_prefix(name_end);
    skip_attributes();
    if (open_.size() == kDeepest) refuse("too many elements in each other");
    open_.push_back({.path_size = path_.size(), .text = {}});
    if (!path_.empty()) path_ += '/';
    path_ += name;
    if (rest_.starts_with('/')) {
      rest_.remove_prefix(1);
      if (!rest_.starts_with('>')) refuse("a '/' within a tag");
      close(name);
    }
    rest_.remove_prefix(1);
  }

  /// Up to the '>' or '/' that ends the tag.
  void skip_attributes() {
    for (;;) {
      const auto at = rest_.find_first_of("\"'/><");
      if (at == std::string_view::npos || rest_[at] == '<') refuse("it ends within a tag");
      const char found = rest_[at];
      rest_.remove_prefix(at);
      if (found == '/' || found == '>') return;
      (void)until(1, found);
    }
  }

  void close(std::string_view name) {
    while (!name.empty() && kBlank.find(name.back()) != std::string_view::npos) name.remove_suffix(1);
    if (open_.empty() || !std::string_view(path_).ends_with(name) ||
        path_.size() - name.size() != open_.back().path_size + (open_.size() > 1 ? 1 : 0)) {
      refuse("an end tag without its begin");
    }
    on_element_(path_, open_.back().text);
    path_.resize(open_.back().path_size);
    open_.pop_back();
  }

  std::string_view rest_;
  const OnXmlElement& on_element_;
  std::string path_;
  std::vector<Element> open_;
};

}  // namespace

void read_xml(std::string_view document, const OnXmlElement& on_element) { XmlReader(document, on_element).read(); }

std::string xml_escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else if (c == '&') {
      result += "&amp;";
    } else if (c == '"') {
      result += "&quot;";
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace virga
