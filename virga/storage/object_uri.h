#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "virga/base/bytes.h"
#include "virga/base/environment.h"

namespace virga {

/// Is it a place at S3, and no path of this machine?
[[nodiscard]] bool is_s3_uri(std::string_view uri) noexcept;

/// The URI of what lies in `uri`, a store or a part of one, under `name`: "s3://bucket/a?region=r" and "b" are
/// "s3://bucket/a/b?region=r".
[[nodiscard]] std::string uri_within(std::string_view uri, std::string_view name);

/// An object named by one URI: the store that it is in, and its name there.
struct ObjectUri {
  std::string store;
  std::string name;
};
/// Pure. "s3://bucket/a/b.bin?region=r" is "b.bin" in "s3://bucket/a?region=r". Throws Error(kUsage) if it names no
/// object.
[[nodiscard]] ObjectUri parse_object_uri(std::string_view uri);

// One file, by its path, or one object, by an s3:// URI.

/// The whole of it. Throws as read_file() or ObjectStore::get().
[[nodiscard]] Bytes read_file_or_object(const std::string& path, const Environment& environment = process_environment(),
                                        std::uint64_t limit = std::uint64_t{1} << 40);
/// All or nothing. Throws as write_file_atomically() or ObjectStore::put().
void write_file_or_object(const std::string& path, ByteView bytes,
                          const Environment& environment = process_environment());
/// To be asked before long work: throws as check_can_write_file(), or if the bucket is not there or may not be listed.
void check_can_write_file_or_object(const std::string& path, const Environment& environment = process_environment());

}  // namespace virga
