#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/base/environment.h"
#include "virga/base/error.h"

namespace virga {

struct ObjectInfo {
  std::string name;
  std::uint64_t bytes = 0;
  bool operator==(const ObjectInfo&) const = default;
};

/// What put() promises once it has returned: that every reader finds the object, or also that it outlives a power cut.
enum class Durability : std::uint8_t { kVisible, kDurable };

/// An ObjectStore keeps bytes under names ("train/000012.blk"): it is where data sets and models lie. An object appears
/// whole or not at all, and is meant to be written once; a second put replaces it. Several threads and processes may
/// call any member at once. All members throw Error: kUsage for a name that is_object_name() refuses, kNotFound for an
/// object that is not there, kIo and the kinds of a remote service when the place cannot be used.
class ObjectStore {
 public:
  ObjectStore() = default;
  ObjectStore(const ObjectStore&) = delete;
  ObjectStore& operator=(const ObjectStore&) = delete;
  virtual ~ObjectStore() = default;

  /// Stores `bytes` under `name`, all or nothing. The buffer stays the caller's.
  virtual void put(std::string_view name, ByteView bytes, Durability durability = Durability::kVisible) = 0;

  /// The whole object. Throws Error(kTooLarge) beyond `limit` bytes, before anything is read.
  [[nodiscard]] virtual Bytes get(std::string_view name, std::uint64_t limit = std::uint64_t{1} << 32) const = 0;

  /// Fills `out` with the object's bytes from `offset` on. Throws Error(kCorrupt) if the object ends before that.
  virtual void get_range(std::string_view name, std::uint64_t offset, std::span<std::byte> out) const = 0;

  /// Size in bytes. Throws Error(kNotFound).
  [[nodiscard]] virtual std::uint64_t size(std::string_view name) const = 0;
  [[nodiscard]] virtual bool exists(std::string_view name) const = 0;

  /// The objects whose names begin with `prefix` (any text, not only whole folders), sorted by name.
  [[nodiscard]] virtual std::vector<ObjectInfo> list(std::string_view prefix = "") const = 0;

  /// Deletes an object; one that is not there is no error, so that it can be repeated.
  virtual void remove(std::string_view name) = 0;
  /// Each of them, in any order; as remove() of each, but for a remote service faster.
  virtual void remove_all(std::span<const std::string> names);

  /// Where this store is, for messages.
  [[nodiscard]] virtual const std::string& uri() const noexcept = 0;
};

/// May `name` name an object? At most 900 bytes; parts of 1 to 200 bytes between single '/'; no part begins with '.';
/// no control characters. So no name leads out of a directory.
[[nodiscard]] bool is_object_name(std::string_view name) noexcept;

/// The directory that `uri` names, for a store that is one; nothing for one that is elsewhere.
[[nodiscard]] std::optional<std::filesystem::path> store_directory(std::string_view uri);

/// For a name that is_object_name() refuses.
[[nodiscard]] Error bad_object_name(const std::string& uri, std::string_view name);

/// Opens the store at `uri`: a path, file:// and an absolute path (taken as it stands, no %-escapes), or
/// s3://bucket/prefix (s3_place.h), whose credentials come from `environment`. Nothing is touched, created or asked
/// before the first call. Throws Error(kUsage) for an empty or malformed uri, kUnsupported for a kind of store that is
/// not built.
[[nodiscard]] std::unique_ptr<ObjectStore> open_object_store(std::string_view uri,
                                                             const Environment& environment = process_environment());

}  // namespace virga
