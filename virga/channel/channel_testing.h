#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/channel/channel.h"

namespace virga {

/// A wait that is long enough for what will happen.
inline Wait soon() { return {Deadline::in(std::chrono::seconds(20))}; }

inline void put_text(Channel& channel, const MessageKey& key, std::string_view text, const Wait& wait = soon()) {
  const ByteView part = as_bytes(text);
  channel.put(std::vector<Outgoing>{{key, {&part, 1}}}, wait);
}

/// The message, which must come.
inline std::string get_text(Channel& channel, const MessageKey& key) {
  std::string text;
  channel.get(
      std::vector{key}, [&](const MessageKey&, const SharedBytes& bytes) { text = as_text(bytes.view()); }, soon());
  return text;
}

inline std::optional<std::string> try_get_text(Channel& channel, const MessageKey& key) {
  const auto bytes = channel.try_get(key, soon());
  if (!bytes) return std::nullopt;
  return std::string(as_text(bytes->view()));
}

template <typename Call>
ErrorKind kind_of_error(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorKind::kInternal;
}

template <typename Call>
std::string text_of_error(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace virga
