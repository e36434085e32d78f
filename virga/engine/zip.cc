#include "virga/engine/zip.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <set>
#include <vector>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/net/descriptor.h"

namespace virga {
namespace {

constexpr std::size_t kMostNameBytes = 1024;
constexpr std::size_t kMostPartBytes = 255;

struct FreeWriter {
  void operator()(archive* a) const noexcept { archive_write_free(a); }
};
struct FreeReader {
  void operator()(archive* a) const noexcept { archive_read_free(a); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const noexcept { archive_entry_free(entry); }
};
using Writer = std::unique_ptr<archive, FreeWriter>;
using Reader = std::unique_ptr<archive, FreeReader>;
using Entry = std::unique_ptr<archive_entry, FreeEntry>;

std::string_view reason(archive* a) {
  const char* text = archive_error_string(a);
  return text == nullptr ? "unknown error" : text;
}

void written(archive* a, la_ssize_t result) {
  if (result < ARCHIVE_OK) throw Error(ErrorKind::kInternal, fmt::format("a zip cannot be made: {}", reason(a)));
}

la_ssize_t append(archive*, void* to, const void* bytes, std::size_t count) {
  static_cast<std::string*>(to)->append(static_cast<const char*>(bytes), count);
  return static_cast<la_ssize_t>(count);
}

[[noreturn]] void refuse(std::string_view name, std::string_view why) {
  throw Error(ErrorKind::kBadData, fmt::format("the zip is refused: {:?} {}", name.substr(0, 200), why));
}

/// `name` without a slash at its end, if each of its parts is the name of something in a folder.
std::string checked(std::string_view name, bool is_folder) {
  if (name.size() > kMostNameBytes) refuse(name, "is too long a name");
  if (name.starts_with('/')) refuse(name, "is an absolute path");
  if (name.find('\0') != std::string_view::npos) refuse(name, "holds a zero byte");
  if (is_folder && name.ends_with('/')) name.remove_suffix(1);
  for (std::string_view rest = name;;) {
    const auto part = rest.substr(0, rest.find('/'));
    if (part.empty() || part == "." || part == "..") refuse(name, "leads out of its folder or nowhere");
    if (part.size() > kMostPartBytes) refuse(name, "is too long a name");
    if (part.size() == rest.size()) return std::string(name);
    rest.remove_prefix(part.size() + 1);
  }
}

/// The names that an archive has had so far.
class Names {
 public:
  void add(const UnpackedMember& member) {
    const auto& name = member.name;
    for (auto slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      const auto above = name.substr(0, slash);
      if (files_.contains(above)) refuse(name, "lies in a folder that is a file");
      folders_.insert(above);
    }
    if (files_.contains(name)) refuse(name, "is there twice");
    if (member.is_folder) {
      if (!said_folders_.insert(name).second) refuse(name, "is there twice");
      folders_.insert(name);
      return;
    }
    if (folders_.contains(name)) refuse(name, "is a file and a folder");
    files_.insert(name);
  }

 private:
  std::set<std::string> files_;
  std::set<std::string> folders_;       // those that hold something, too
  std::set<std::string> said_folders_;  // those with an entry of their own
};

UnpackedMember member_of(archive* a, archive_entry* entry) {
  const char* name = archive_entry_pathname_utf8(entry);
  if (name == nullptr) throw Error(ErrorKind::kBadData, "the zip is refused: a name in it is not UTF-8");
  if (archive_entry_is_encrypted(entry) != 0) refuse(name, "is encrypted");
  if (archive_entry_hardlink(entry) != nullptr) refuse(name, "is a link");
  const auto type = archive_entry_filetype(entry);
  if (type == AE_IFLNK) refuse(name, "is a symbolic link");
  if (type != AE_IFREG && type != AE_IFDIR) refuse(name, "is neither a file nor a folder");
  // Others would have to be decompressed in memory without a bound.
  const std::string_view format = archive_format_name(a);
  if (format.find("(deflation)") == std::string_view::npos && format.find("(uncompressed)") == std::string_view::npos) {
    refuse(name, "is neither stored nor deflated");
  }
  return {.name = checked(name, type == AE_IFDIR),
          .is_folder = type == AE_IFDIR,
          .mode = static_cast<unsigned>(archive_entry_perm(entry)) & 0777};
}

void check_read(archive* a, la_ssize_t result) {
  if (result < ARCHIVE_OK) throw Error(ErrorKind::kBadData, fmt::format("the zip cannot be read: {}", reason(a)));
}

void write_all(const Descriptor& file, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const auto count = ::write(file.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error("cannot write " + path.string(), errno);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

/// What its owner can run, all can: the function is another user.
mode_t readable(unsigned mode) { return mode | 0444 | ((mode & 0100) != 0 ? 0111 : 0); }

void make_folders(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw system_error("cannot create " + path.string(), error.value());
}

}  // namespace

std::string make_zip(std::span<const ZipMember> members, ZipMethod method) {
  std::string zip;
  const Writer writer(archive_write_new());
  check(writer != nullptr, "memory for a zip");
  written(writer.get(), archive_write_set_format_zip(writer.get()));
  const char* options = method == ZipMethod::kStored
                            ? "zip:compression=store,zip:hdrcharset=UTF-8"
                            : "zip:compression=deflate,zip:compression-level=9,zip:hdrcharset=UTF-8";
  written(writer.get(), archive_write_set_options(writer.get(), options));
  written(writer.get(), archive_write_set_bytes_per_block(writer.get(), 0));
  written(writer.get(), archive_write_open(writer.get(), &zip, nullptr, append, nullptr));
  for (const auto& member : members) {
    (void)checked(member.name, /*is_folder=*/false);
    const Entry entry(archive_entry_new());
    archive_entry_set_pathname_utf8(entry.get(), member.name.c_str());
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), member.mode & 0777);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(member.bytes.size()));
    written(writer.get(), archive_write_header(writer.get(), entry.get()));
    written(writer.get(), archive_write_data(writer.get(), member.bytes.data(), member.bytes.size()));
  }
  written(writer.get(), archive_write_close(writer.get()));
  return zip;
}

void read_zip(std::string_view zip, const UnpackLimits& limits, const std::function<void(const UnpackedMember&)>& begin,
              const std::function<void(std::string_view)>& data) {
  const Reader reader(archive_read_new());
  check(reader != nullptr, "memory for a zip");
  auto* const a = reader.get();
  // Not as a stream: then only the list at the end, which has the modes, says what is in it.
  check_read(a, archive_read_support_format_zip_seekable(a));
  check_read(a, archive_read_open_memory(a, zip.data(), zip.size()));
  Names names;
  std::uint64_t bytes = 0;
  std::vector<char> buffer(std::size_t{1} << 16);
  for (std::size_t count = 0;; ++count) {
    archive_entry* entry = nullptr;
    const int next = archive_read_next_header(a, &entry);
    if (next == ARCHIVE_EOF) return;
    check_read(a, next);
    if (count == limits.members) {
      throw Error(ErrorKind::kTooLarge, fmt::format("the zip holds more than {} files and folders", limits.members));
    }
    const auto member = member_of(a, entry);
    names.add(member);
    begin(member);
    while (const auto got = archive_read_data(a, buffer.data(), buffer.size())) {
      check_read(a, got);
      bytes += static_cast<std::uint64_t>(got);
      if (bytes > limits.bytes) {
        throw Error(ErrorKind::kTooLarge, fmt::format("the zip unpacks to more than {} bytes", limits.bytes));
      }
      if (member.is_folder) refuse(member.name, "is a folder with bytes");
      data(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
    }
  }
}

void unpack_zip(std::string_view zip, const std::filesystem::path& folder, const UnpackLimits& limits) {
  make_folders(folder);
  if (!std::filesystem::is_empty(folder)) {
    throw Error(ErrorKind::kConflict,
                fmt::format("{}: a zip is to be unpacked there, but it is not empty", folder.string()));
  }
  Descriptor file;
  std::filesystem::path path;
  const auto begin = [&](const UnpackedMember& member) {
    path = folder / member.name;
    file = Descriptor();
    if (member.is_folder) return make_folders(path);
    make_folders(path.parent_path());
    file = Descriptor(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file || ::fchmod(file.get(), readable(member.mode)) != 0)
      throw system_error("cannot create " + path.string(), errno);
  };
  try {
    read_zip(zip, limits, begin, [&](std::string_view bytes) { write_all(file, bytes, path); });
  } catch (...) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
      std::filesystem::remove_all(entry.path(), ignored);
    }
    throw;
  }
}

}  // namespace virga
