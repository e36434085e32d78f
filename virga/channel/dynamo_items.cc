#include "virga/channel/dynamo_items.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <iterator>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/json_scanner.h"
#include "virga/net/http.h"
#include "virga/net/sigv4.h"

namespace virga {
namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kAnswer = "an answer of DynamoDB";
constexpr unsigned char kNoBase64 = 0xFF;

/// Two characters for each 12 bits: half the steps of one for each 6.
constexpr auto kPairs = [] {
  std::array<std::array<char, 2>, 4096> pairs{};
  for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = {kBase64[i >> 6U], kBase64[i & 63U]};
  return pairs;
}();
constexpr auto kSextets = [] {
  std::array<unsigned char, 256> values{};
  values.fill(kNoBase64);
  for (unsigned i = 0; i < 64; ++i) values[static_cast<unsigned char>(kBase64[i])] = static_cast<unsigned char>(i);
  return values;
}();

[[noreturn]] void fail_base64() { throw Error(ErrorKind::kCorrupt, "DynamoDB answers with bytes that are not base64"); }

/// Encodes from the front of `bytes` what makes whole groups of three.
char* encode_groups(ByteView& bytes, char* to) {
  const auto* from = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto groups = bytes.size() / 3;
  for (std::size_t i = 0; i < groups; ++i, from += 3, to += 4) {
    const unsigned bits = static_cast<unsigned>(from[0]) << 16U | static_cast<unsigned>(from[1]) << 8U | from[2];
    std::memcpy(to, kPairs[bits >> 12U].data(), 2);
    std::memcpy(to + 2, kPairs[bits & 4095U].data(), 2);
  }
  bytes = bytes.subspan(groups * 3);
  return to;
}

std::size_t fill_of(std::string_view text) { return text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0; }

std::uint64_t number_of(std::string_view digits, const JsonScanner& json) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) json.fail("a whole number was expected");
  return number;
}

/// {"B": "..."}: the text, whatever its type; empty if it is none.
template <typename OnText>
void read_attribute(JsonScanner& json, const OnText& on_text) {
  json.object([&](std::string_view type) {
    if (type == "S" || type == "N" || type == "B") return on_text(json.string());
    json.skip();
  });
}

DynamoItem read_item(JsonScanner& json) {
  DynamoItem item;
  json.object([&](std::string_view name) {
    if (name == "p") return read_attribute(json, [&](std::string_view text) { item.partition = text; });
    if (name == "s") return read_attribute(json, [&](std::string_view text) { item.sort = text; });
    if (name == "z") return read_attribute(json, [&](std::string_view text) { item.size = number_of(text, json); });
    if (name == "v") return read_attribute(json, [&](std::string_view text) { item.version = number_of(text, json); });
    if (name == "b") {
      item.has_bytes = true;
      return read_attribute(json, [&](std::string_view text) { item.bytes = text; });
    }
    if (name == "h") {
      item.has_head = true;
      return read_attribute(json, [&](std::string_view text) { item.head = text; });
    }
    json.skip();
  });
  return item;
}

void read_items(JsonScanner& json, const OnDynamoItem& on_item) {
  json.array([&] {
    auto item = read_item(json);
    on_item(item);
  });
}

}  // namespace

std::string dynamo_partition(std::string_view prefix, std::string_view job, std::string_view kind,
                             std::string_view name) {
  const auto encoded = [](std::string_view text, std::size_t most) {
    auto result = percent_encode(text, /*keep_slash=*/true);
    return result.size() <= most ? result : "#" + sha256_hex(text);
  };
  constexpr std::size_t kLongestJob = 200;
  constexpr std::size_t kLongestName = 500;
  const auto partition = fmt::format("{}{}/{}", prefix, encoded(job, kLongestJob), kind);
  return name.empty() ? partition : partition + "/" + encoded(name, kLongestName);
}

void append_base64(std::span<const ByteView> parts, std::string& to) {
  std::size_t bytes = 0;
  for (const auto& part : parts) bytes += part.size();
  const auto begin = to.size();
  to.resize(begin + (bytes + 2) / 3 * 4);
  char* out = to.data() + begin;
  std::array<std::byte, 3> rest{};  // of parts that do not end with a group
  std::size_t held = 0;
  for (auto part : parts) {
    while (held > 0 && held < 3 && !part.empty()) {
      rest[held++] = part[0];
      part = part.subspan(1);
    }
    if (held == 3) {
      ByteView group = rest;
      out = encode_groups(group, out);
      held = 0;
    }
    if (held == 0) out = encode_groups(part, out);
    for (const auto byte : part) rest[held++] = byte;
  }
  if (held == 0) return;
  std::fill(rest.begin() + static_cast<std::ptrdiff_t>(held), rest.end(), std::byte{});
  ByteView group = rest;
  out = encode_groups(group, out);
  std::fill(out - (3 - held), out, '=');
}

std::size_t base64_bytes(std::string_view text) {
  if (text.size() % 4 != 0) fail_base64();
  return text.size() / 4 * 3 - fill_of(text);
}

void decode_base64(std::string_view text, std::span<std::byte> to) {
  if (to.size() != base64_bytes(text)) fail_base64();
  if (text.empty()) return;
  const auto* from = reinterpret_cast<const unsigned char*>(text.data());
  auto* out = to.data();
  unsigned wrong = 0;  // looked at once, at the end
  const auto whole = text.size() / 4 - (fill_of(text) > 0 ? 1 : 0);
  for (std::size_t i = 0; i < whole; ++i, from += 4, out += 3) {
    const unsigned a = kSextets[from[0]], b = kSextets[from[1]], c = kSextets[from[2]], d = kSextets[from[3]];
    wrong |= a | b | c | d;
    const unsigned bits = a << 18U | b << 12U | c << 6U | d;
    out[0] = static_cast<std::byte>(bits >> 16U);
    out[1] = static_cast<std::byte>(bits >> 8U);
    out[2] = static_cast<std::byte>(bits);
  }
  if (const auto fill = fill_of(text); fill > 0) {
    const unsigned a = kSextets[from[0]], b = kSextets[from[1]], c = fill == 1 ? kSextets[from[2]] : 0U;
    wrong |= a | b | c;
    const unsigned bits = a << 18U | b << 12U | c << 6U;
    out[0] = static_cast<std::byte>(bits >> 16U);
    if (fill == 1) out[1] = static_cast<std::byte>(bits >> 8U);
    if ((bits & (fill == 1 ? 0xFFU : 0xFFFFU)) != 0) fail_base64();
  }
  if (wrong > 63) fail_base64();
}

SharedBytes decode_base64(std::string_view text) {
  return SharedBytes::make(base64_bytes(text), [&](std::span<std::byte> to) { decode_base64(text, to); });
}

void append_key(const DynamoKey& key, std::string& to) {
  fmt::format_to(std::back_inserter(to), R"({{"p":{{"S":"{}"}},"s":{{"S":"{}"}}}})", key.partition, key.sort);
}

std::vector<DynamoKey> read_batch_get(std::string_view text, const OnDynamoItem& on_item) {
  std::vector<DynamoKey> again;
  JsonScanner json(text, kAnswer);
  json.object([&](std::string_view name) {
    if (name == "Responses") return json.object([&](std::string_view) { read_items(json, on_item); });
    if (name != "UnprocessedKeys") return json.skip();
    json.object([&](std::string_view) {
      json.object([&](std::string_view member) {
        if (member != "Keys") return json.skip();
        read_items(json, [&](DynamoItem& item) { again.push_back({item.partition, item.sort}); });
      });
    });
  });
  json.end();
  return again;
}

std::vector<DynamoKey> read_batch_write(std::string_view text) {
  std::vector<DynamoKey> again;
  JsonScanner json(text, kAnswer);
  const auto take = [&](std::string_view) {  // PutRequest or DeleteRequest
    json.object([&](std::string_view) {      // Item or Key
      const auto item = read_item(json);
      again.push_back({item.partition, item.sort});
    });
  };
  json.object([&](std::string_view name) {
    if (name != "UnprocessedItems") return json.skip();
    json.object([&](std::string_view) { json.array([&] { json.object(take); }); });
  });
  json.end();
  return again;
}

std::optional<DynamoKey> read_query(std::string_view text, const OnDynamoItem& on_item) {
  std::optional<DynamoKey> next;
  JsonScanner json(text, kAnswer);
  json.object([&](std::string_view name) {
    if (name == "Items") return read_items(json, on_item);
    if (name != "LastEvaluatedKey") return json.skip();
    const auto item = read_item(json);
    next = DynamoKey{item.partition, item.sort};
  });
  json.end();
  return next;
}

std::optional<DynamoItem> read_one(std::string_view text) {
  std::optional<DynamoItem> one;
  JsonScanner json(text, kAnswer);
  json.object([&](std::string_view name) {
    if (name != "Item" && name != "Attributes") return json.skip();
    one = read_item(json);
  });
  json.end();
  return one;
}

double read_consumed_units(std::string_view text) {
  double units = 0;
  JsonScanner json(text, kAnswer);
  const auto take = [&] {
    json.object([&](std::string_view name) {
      if (name != "CapacityUnits") return json.skip();
      const auto some = json.number();
      if (!(some >= 0 && some < 1e9)) json.fail("these are no units of capacity");
      units += some;
    });
  };
  json.object([&](std::string_view name) {
    if (name != "ConsumedCapacity") return json.skip();
    json.next_is('[') ? json.array(take) : take();  // batches name each table
  });
  json.end();
  return units;
}

DynamoRefusal read_dynamo_refusal(std::string_view text) noexcept {
  DynamoRefusal refusal;
  try {
    JsonScanner json(text, kAnswer);
    json.object([&](std::string_view name) {
      if (name == "__type") {
        const auto type = json.string();
        refusal.code = type.substr(type.rfind('#') + 1).substr(0, 100);
      } else if (name == "message" || name == "Message") {
        refusal.message = json.string().substr(0, 500);
      } else {
        json.skip();
      }
    });
  } catch (const std::exception&) {
    return refusal;
  }
  return refusal;
}

}  // namespace virga
