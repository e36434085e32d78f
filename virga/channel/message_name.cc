#include "virga/channel/message_name.h"

#include <fmt/format.h>

#include "virga/channel/directory_files.h"

namespace virga {
namespace {

/// Takes numbers from a name, one after the other.
class NameReader {
 public:
  explicit NameReader(std::string_view name) noexcept : name_(name) {}

  /// `width` digits, and then `end` (0: nothing).
  template <typename Number>
  NameReader& take(Number& to, std::size_t width, char end) noexcept {
    const auto number = parse_hex(name_.substr(0, width), width);
    good_ = good_ && number && (end == 0 ? name_.size() == width : name_.size() > width && name_[width] == end);
    if (!good_) return *this;
    to = static_cast<Number>(*number);
    name_.remove_prefix(end == 0 ? width : width + 1);
    return *this;
  }
  [[nodiscard]] bool good() const noexcept { return good_; }

 private:
  std::string_view name_;
  bool good_ = true;
};

}  // namespace

std::string message_name(const MessageKey& key) {
  return fmt::format("{:08x}/{:08x}/{:08x}/{:016x}-{:04x}-{:08x}-{:08x}", key.view, key.group, key.source, key.round,
                     key.phase, key.destination, key.part);
}

std::optional<MessageKey> parse_message_name(std::string_view name) noexcept {
  if (name.size() != kMessageNameChars) return std::nullopt;
  MessageKey key;
  NameReader reader(name);
  reader.take(key.view, 8, '/').take(key.group, 8, '/').take(key.source, 8, '/').take(key.round, 16, '-');
  reader.take(key.phase, 4, '-').take(key.destination, 8, '-').take(key.part, 8, 0);
  if (!reader.good()) return std::nullopt;
  return key;
}

std::string view_name(std::uint32_t view) { return fmt::format("{:08x}/", view); }

}  // namespace virga
