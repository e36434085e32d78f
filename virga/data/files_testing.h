#pragma once

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <stdlib.h>

#include <zlib.h>
#include <zstd.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/data/block.h"
#include "virga/data/group_cache.h"
#include "virga/data/manifest.h"

namespace virga {

/// A directory of a test's own, deleted in the end.
class TestDirectory {
 public:
  TestDirectory() {
    auto name = (std::filesystem::temp_directory_path() / "virga_test.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw system_error("cannot create " + name, errno);
    path_ = name;
  }
  ~TestDirectory() { std::filesystem::remove_all(path_); }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;

  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view bytes) const {
    std::filesystem::remove(path_ / name);  // some file systems flush a file that is replaced
    write_file_atomically(path_ / name, as_bytes(bytes), false);
    return (path_ / name).string();
  }
  [[nodiscard]] std::string path(const std::string& name) const { return (path_ / name).string(); }

  /// All files and folders below it, hidden ones too, sorted.
  [[nodiscard]] std::vector<std::string> list() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_)) {
      names.push_back(entry.path().lexically_relative(path_).string());
    }
    std::ranges::sort(names);
    return names;
  }

 private:
  std::filesystem::path path_;
};

inline std::string gzip(std::string_view text) {
  z_stream stream{};
  check(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK, "zlib starts");
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  check(deflate(&stream, Z_FINISH) == Z_STREAM_END, "there is room for the packed data");
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

/// All groups of a split, decoded and checked, with raw values.
inline std::vector<RowGroup> read_groups(const ObjectStore& store, const Manifest& manifest, const Split& split) {
  std::vector<RowGroup> groups;
  for (const auto& block : split.blocks) {
    const auto bytes = store.get(block.name);
    for (const auto group : split_block(bytes, block.name)) {
      groups.push_back(decode_group(group, block.name));
      check_group(manifest.encoding, groups.back(), groups.back().rows, block.name);
    }
  }
  return groups;
}

/// What `body` throws, as "KIND: WHAT -> REMEDY"; "nothing" if it does not.
template <typename Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return std::string(to_string(error.kind())) + ": " + error.what() + " -> " + error.remedy();
  }
  return "nothing";
}

}  // namespace virga
