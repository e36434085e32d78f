#pragma once

#include <atomic>
#include <filesystem>

#include "virga/channel/channel.h"

namespace virga {

/// Messages as files in a folder of a local or shared file system, for all who see the folder
/// (docs/formats/channel-directory.md). A message is written under a temporary name and gets its own by link(), so it
/// is whole for whoever finds it, and of two puts at once the second finds the first; a process that dies leaves at
/// worst a file whose name begins with '.'. Nothing is synced to disk: messages do not outlive a power cut. get() polls
/// with a back-off (see Polling), as a shared file system does not say what other machines do.
///
/// Cost: a put is 5 system calls a message, more when a folder is new; a get is 4 a message and 1 for each look that
/// finds none; retire() lists what the source has in the group.
///
/// Throws Error(kIo) as well, for what the operating system refuses; kConflict for other bytes under a taken key;
/// kUnsupported on a file system without hard links. Files that are not the channel's are left alone; what stands in a
/// message's place and cannot be one is kCorrupt.
class DirectoryChannel final : public Channel {
 public:
  /// Neither touches nor creates anything: the first put() does.
  explicit DirectoryChannel(const std::filesystem::path& root, std::size_t max_message_bytes = std::size_t{1} << 30);

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  /// Deletes the temporary files that dead processes have left in these views, too: those an hour old or more. So
  /// sweep(kEverybody) empties the folder, but for what is being put and what is not the channel's.
  void sweep(std::uint32_t view, const Wait& wait) override;
  [[nodiscard]] ChannelContents contents(const Wait& wait) override;
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override { return max_message_bytes_; }
  [[nodiscard]] const std::string& uri() const noexcept override { return uri_; }

  /// How often get() has looked for a message and not found it.
  [[nodiscard]] std::uint64_t polls() const noexcept { return polls_; }

 private:
  void put_one(const Outgoing& message);

  const std::string uri_;  // the folder
  const std::size_t max_message_bytes_;
  std::atomic<std::uint64_t> polls_ = 0;
};

}  // namespace virga
