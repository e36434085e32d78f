#include "virga/channel/channel.h"

#include <algorithm>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"

namespace virga {

void Channel::put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys,
                          const OnMessage& on_message, const Wait& wait) {
  put(messages, wait);
  crash_point("after_put");
  crash_point("before_get");
  get(keys, on_message, wait);
}

void throw_missing(const Channel& channel, std::span<const MessageKey> missing, std::string_view because) {
  constexpr std::size_t kMostNamed = 3;
  std::string names;
  for (const auto& key : missing.first(std::min(missing.size(), kMostNamed))) {
    names += (names.empty() ? "" : "; ") + to_string(key);
  }
  if (missing.size() > kMostNamed) names += "; ...";
  throw Error(ErrorKind::kDeadlineExceeded,
              fmt::format("{}: {} message{} did not come in time: {}{}{}", channel.uri(), missing.size(),
                          missing.size() == 1 ? "" : "s", names, because.empty() ? "" : " (", because) +
                  (because.empty() ? "" : ")"));
}

}  // namespace virga
