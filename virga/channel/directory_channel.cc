#include "virga/channel/directory_channel.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/directory_files.h"
#include "virga/channel/pause.h"

namespace virga {
namespace {

// ROOT/view/group/source/round-phase-destination-part, each in hexadecimal digits of a fixed number.
constexpr std::size_t kFolderDigits = 8;
constexpr std::size_t kRoundDigits = 16;

std::string folder_of(const std::string& root, std::uint32_t view, std::uint32_t group, std::uint32_t source) {
  return fmt::format("{}/{:08x}/{:08x}/{:08x}", root, view, group, source);
}

std::string path_of(const std::string& root, const MessageKey& key) {
  return fmt::format("{}/{:016x}-{:04x}-{:08x}-{:08x}", folder_of(root, key.view, key.group, key.source), key.round,
                     key.phase, key.destination, key.part);
}

/// The round in the name of a message's file; none if it is no such name.
std::optional<std::uint64_t> round_of(std::string_view name) {
  constexpr std::size_t kPhaseAt = kRoundDigits + 1;
  constexpr std::size_t kDestinationAt = kPhaseAt + 4 + 1;
  constexpr std::size_t kPartAt = kDestinationAt + 8 + 1;
  if (name.size() != kPartAt + 8) return std::nullopt;
  if (name[kPhaseAt - 1] != '-' || name[kDestinationAt - 1] != '-' || name[kPartAt - 1] != '-') return std::nullopt;
  if (!parse_hex(name.substr(kPhaseAt, 4), 4) || !parse_hex(name.substr(kDestinationAt, 8), 8) ||
      !parse_hex(name.substr(kPartAt, 8), 8)) {
    return std::nullopt;
  }
  return parse_hex(name.substr(0, kRoundDigits), kRoundDigits);
}

/// Calls `visit(path, number)` for the folders in `folder` that are named after a view, group or source.
template <typename Visit>
void for_each_folder(const std::string& folder, const Visit& visit) {
  for (const auto& name : names_in(folder)) {
    if (const auto number = parse_hex(name, kFolderDigits)) visit(fmt::format("{}/{}", folder, name), *number);
  }
}

/// Removes an empty folder; one that is not empty, because somebody puts into it, stays.
void remove_if_empty(const std::string& folder) { (void)::rmdir(folder.c_str()); }

bool equal(ByteView whole, std::span<const ByteView> parts) {
  for (const auto& part : parts) {
    if (part.size() > whole.size() || !std::ranges::equal(part, whole.first(part.size()))) return false;
    whole = whole.subspan(part.size());
  }
  return whole.empty();
}

}  // namespace

DirectoryChannel::DirectoryChannel(const std::filesystem::path& root, std::size_t max_message_bytes)
    : uri_(root.string()), max_message_bytes_(max_message_bytes) {}

void DirectoryChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  for (const auto& message : messages) {
    if (message.bytes() > max_message_bytes_) {
      throw Error(ErrorKind::kTooLarge, fmt::format("{}: a message of {} bytes, but {} is the most: {}", uri_,
                                                    message.bytes(), max_message_bytes_, to_string(message.key)));
    }
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    throw_if_stopped(uri_, wait);
    if (i > 0 && wait.deadline.passed()) {
      throw Error(ErrorKind::kDeadlineExceeded,
                  fmt::format("{}: only {} of {} messages were put in time", uri_, i, messages.size()));
    }
    put_one(messages[i]);
  }
}

void DirectoryChannel::put_one(const Outgoing& message) {
  const auto path = path_of(uri_, message.key);
  const auto folder = path.substr(0, path.rfind('/'));
  // Once more if what was found there, or our own file, was deleted under our hands.
  constexpr int kMostAttempts = 10;
  for (int attempt = 1;; ++attempt) {
    const TemporaryFile file(folder, message.parts);
    if (::link(file.path().c_str(), path.c_str()) == 0) return;
    const int failed = errno;
    if (failed == EEXIST) {
      if (const auto there = read_if_there(path, max_message_bytes_)) {
        if (equal(there->view(), message.parts)) return;
        throw Error(ErrorKind::kConflict,
                    fmt::format("{}: other bytes were put before: {}", uri_, to_string(message.key)));
      }
    } else if (failed == EPERM || failed == EOPNOTSUPP || failed == ENOSYS) {
      throw Error(ErrorKind::kUnsupported, fmt::format("{}: the file system has no hard links", uri_),
                  "choose a folder on another file system");
    } else if (failed != ENOENT) {
      throw directory_error("cannot create " + path, failed);
    }
    if (attempt == kMostAttempts) throw directory_error("cannot create " + path, failed);
  }
}

void DirectoryChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  std::vector<MessageKey> missing(keys.begin(), keys.end());
  Polling polling(wait);
  for (;;) {
    const auto came = std::erase_if(missing, [&](const MessageKey& key) {
      const auto bytes = read_if_there(path_of(uri_, key), max_message_bytes_);
      if (bytes) on_message(key, *bytes);
      return bytes.has_value();
    });
    if (missing.empty()) return;
    polls_ += missing.size();
    if (came > 0) polling.restart();
    throw_if_stopped(uri_, wait);
    if (!polling.pause()) break;
  }
  throw_if_stopped(uri_, wait);
  throw_missing(*this, missing);
}

std::optional<SharedBytes> DirectoryChannel::try_get(const MessageKey& key, const Wait&) {
  return read_if_there(path_of(uri_, key), max_message_bytes_);
}

void DirectoryChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                              const Wait& wait) {
  const auto folder = folder_of(uri_, view, group, source);
  for (const auto& name : names_in(folder)) {
    throw_if_stopped(uri_, wait);
    if (const auto of_message = round_of(name); of_message && *of_message <= round) {
      remove_if_there(fmt::format("{}/{}", folder, name));
    }
  }
}

void DirectoryChannel::sweep(std::uint32_t view, const Wait& wait) {
  const auto sweep_source = [&](const std::string& folder) {
    for (const auto& name : names_in(folder)) {
      throw_if_stopped(uri_, wait);
      const auto path = fmt::format("{}/{}", folder, name);
      if (round_of(name)) remove_if_there(path);
      if (name.starts_with('.')) remove_if_abandoned(path);
    }
    remove_if_empty(folder);
  };
  for_each_folder(uri_, [&](const std::string& of_view, std::uint64_t number) {
    if (number >= view) return;
    for_each_folder(of_view, [&](const std::string& of_group, std::uint64_t) {
      for_each_folder(of_group, [&](const std::string& of_source, std::uint64_t) { sweep_source(of_source); });
      remove_if_empty(of_group);
    });
    remove_if_empty(of_view);
  });
}

ChannelContents DirectoryChannel::contents(const Wait& wait) {
  ChannelContents contents;
  const auto count = [&](const std::string& folder) {
    for (const auto& name : names_in(folder)) {
      throw_if_stopped(uri_, wait);
      struct stat status {};
      if (!round_of(name) || ::lstat(fmt::format("{}/{}", folder, name).c_str(), &status) != 0 ||
          !S_ISREG(status.st_mode))
        continue;
      ++contents.messages;
      contents.bytes += static_cast<std::uint64_t>(status.st_size);
    }
  };
  for_each_folder(uri_, [&](const std::string& of_view, std::uint64_t) {
    for_each_folder(of_view, [&](const std::string& of_group, std::uint64_t) {
      for_each_folder(of_group, [&](const std::string& of_source, std::uint64_t) { count(of_source); });
    });
  });
  return contents;
}

}  // namespace virga
