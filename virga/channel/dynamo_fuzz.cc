#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/channel/dynamo_items.h"
#include "virga/channel/json_scanner.h"

namespace virga {
namespace {

/// Reads, and is refused as corrupt at worst.
template <typename Read>
bool is_read(const Read& read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "an answer is refused as corrupt");
    return false;
  }
}

/// A string is what another reader of JSON takes it for.
void compare_string(std::string_view text) {
  std::string read;
  const bool good = is_read([&] {
    JsonScanner json(text, "fuzz");
    read = json.string();
    json.end();
  });
  const auto other = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (other.is_string()) check(good && other.get<std::string>() == read, "a string is read as another");
}

void take_item(DynamoItem& item) {
  if (!is_read([&] { (void)base64_bytes(item.bytes); })) return;
  is_read([&] {
    const auto bytes = decode_base64(item.bytes);
    const ByteView part = bytes.view();
    std::string again;
    append_base64({&part, 1}, again);
    check(again == item.bytes, "base64 has two texts for the same bytes");
  });
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  is_read([&] { (void)read_batch_get(text, take_item); });
  is_read([&] { (void)read_batch_write(text); });
  is_read([&] { check(read_consumed_units(text) >= 0, "units are less than none"); });
  is_read([&] { (void)read_query(text, take_item); });
  is_read([&] {
    if (auto item = read_one(text)) take_item(*item);
  });
  check(read_dynamo_refusal(text).message.size() <= 500, "a refusal is too long");
  if (text.find('\0') != std::string_view::npos) return 0;  // which the other reader takes for the end
  compare_string(text);
  // What another reader takes, this one takes.
  const bool is_json = nlohmann::json::accept(text);
  const bool is_skipped = is_read([&] {
    JsonScanner json(text, "fuzz");
    json.skip();
    json.end();
  });
  const bool may_be_deep = size > 64;
  check(!is_json || is_skipped || may_be_deep, "JSON is refused");
  return 0;
}
