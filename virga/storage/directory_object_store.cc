#include "virga/storage/directory_object_store.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/file.h"

namespace virga {
namespace {

namespace fs = std::filesystem;

/// Writes a directory's entries to disk: a rename in it is durable only then.
void sync_directory(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw system_error("cannot open " + path.string(), errno);
  const int failed = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (failed != 0) throw system_error("cannot write " + path.string(), failed);
}

}  // namespace

DirectoryObjectStore::DirectoryObjectStore(fs::path root) : root_(std::move(root)), uri_(root_.string()) {}

fs::path DirectoryObjectStore::path_of(std::string_view name) const {
  if (!is_object_name(name)) throw bad_object_name(uri_, name);
  return root_ / name;
}

void DirectoryObjectStore::put(std::string_view name, ByteView bytes, Durability durability) {
  const auto path = path_of(name);
  const bool durable = durability == Durability::kDurable;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) throw system_error("cannot create " + path.parent_path().string(), error.value());
  write_file_atomically(path, bytes, durable);
  if (durable) sync_directory(path.parent_path());
}

Bytes DirectoryObjectStore::get(std::string_view name, std::uint64_t limit) const {
  return read_file(path_of(name), limit);
}

void DirectoryObjectStore::get_range(std::string_view name, std::uint64_t offset, std::span<std::byte> out) const {
  const ReadableFile file(path_of(name));
  if (offset > file.size() || out.size() > file.size() - offset || file.read_at(offset, out) != out.size()) {
    throw Error(ErrorKind::kCorrupt,
                fmt::format("{}: {} bytes at {} were asked for, but it has {} bytes", file.path().string(), out.size(),
                            offset, file.size()),
                "the object was cut short or replaced; store it anew");
  }
}

std::uint64_t DirectoryObjectStore::size(std::string_view name) const { return ReadableFile(path_of(name)).size(); }

bool DirectoryObjectStore::exists(std::string_view name) const {
  const auto path = path_of(name);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return S_ISREG(status.st_mode);
  if (errno == ENOENT || errno == ENOTDIR) return false;
  throw system_error("cannot look at " + path.string(), errno);
}

std::vector<ObjectInfo> DirectoryObjectStore::list(std::string_view prefix) const {
  std::vector<ObjectInfo> objects;
  std::error_code error;
  fs::recursive_directory_iterator entry(root_, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (!entry->is_regular_file(error)) {
      error.clear();  // vanished in the meantime
      continue;
    }
    // Temporary files begin with '.', which no name of an object does.
    auto name = entry->path().lexically_relative(root_).generic_string();
    if (!name.starts_with(prefix) || !is_object_name(name)) continue;
    const auto bytes = entry->file_size(error);
    if (!error) objects.push_back({.name = std::move(name), .bytes = bytes});
    error.clear();
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw system_error("cannot list " + uri_, error.value());
  }
  std::ranges::sort(objects, {}, &ObjectInfo::name);
  return objects;
}

void DirectoryObjectStore::remove(std::string_view name) {
  const auto path = path_of(name);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) {
    throw system_error("cannot delete " + path.string(), errno);
  }
}

}  // namespace virga
