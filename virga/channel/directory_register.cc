#include "virga/channel/directory_register.h"

#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/directory_files.h"
#include "virga/channel/pause.h"

namespace virga {
namespace {

/// What the name of the pointer file says; with a '.' before it, it is the name of the value's file.
struct Pointer {
  std::uint64_t version = 0;
  std::uint64_t value = 0;  ///< which of the values that were meant to have this version; 0: there is none
  bool operator==(const Pointer&) const = default;
};

std::string name_of(const Pointer& pointer) { return fmt::format("{:016x}-{:016x}", pointer.version, pointer.value); }

std::optional<Pointer> parse_pointer(std::string_view name) {
  if (name.size() != 33 || name[16] != '-') return std::nullopt;
  const auto version = parse_hex(name.substr(0, 16), 16);
  const auto value = parse_hex(name.substr(17), 16);
  if (!version || !value) return std::nullopt;
  return Pointer{*version, *value};
}

/// ROOT/model.d/newest.d/value for register "model/newest": no name of a folder of parts is that of another thing.
std::string folder_of(const std::string& root, std::string_view name) {
  std::string folder = root + "/";
  for (const char c : name) folder += c == '/' ? std::string(".d/") : std::string(1, c);
  return folder + ".d/value";
}

/// The folder of one register.
class RegisterFolder {
 public:
  RegisterFolder(const std::string& uri, std::string_view name, const Wait& wait)
      : uri_(uri), wait_(wait), folder_(folder_of(uri, name)) {}

  [[nodiscard]] std::string path_of(const Pointer& pointer) const { return folder_ + "/" + name_of(pointer); }
  [[nodiscard]] std::string path_of_value(const Pointer& pointer) const { return folder_ + "/." + name_of(pointer); }

  /// The pointer; none if the register was never written. A listing may miss a file that is renamed meanwhile.
  [[nodiscard]] std::optional<Pointer> look() const {
    Looks looks(*this);
    for (;;) {
      std::optional<Pointer> newest;
      for (const auto& name : names_in(folder_)) {
        const auto found = parse_pointer(name);
        if (found && (!newest || found->version > newest->version)) newest = found;
      }
      if (newest) return newest;
      struct stat status {};
      if (::lstat(folder_.c_str(), &status) != 0 && errno == ENOENT) return std::nullopt;
      looks.again("no pointer is there");
    }
  }

  /// Where the value is, and the value if there is one.
  [[nodiscard]] std::pair<std::optional<Pointer>, std::optional<SharedBytes>> read(std::size_t limit) const {
    Looks looks(*this);
    std::optional<Pointer> last;
    for (;;) {
      const auto pointer = look();
      if (!pointer || pointer->value == 0) return {pointer, std::nullopt};
      if (auto bytes = read_if_there(path_of_value(*pointer), limit)) return {pointer, std::move(bytes)};
      // Somebody wrote, and deleted the old value. That is progress, unless the pointer stays.
      if (pointer != last) looks = Looks(*this);
      last = pointer;
      looks.again("the pointer's value is missing");
    }
  }

  /// Makes the folder appear with its first pointer in it: version 0, no value. Once it has appeared it stays.
  void create() const {
    const auto parent = folder_.substr(0, folder_.rfind('/'));
    make_folders(parent);
    const auto temporary = fmt::format("{}/.{:016x}", parent, random_number());
    if (::mkdir(temporary.c_str(), 0777) != 0) throw directory_error("cannot create " + temporary, errno);
    const auto pointer = temporary + "/" + name_of({});
    int failed = 0;
    {
      std::FILE* file = std::fopen(pointer.c_str(), "wxe");
      if (file == nullptr) failed = errno;
      if (file != nullptr && std::fclose(file) != 0) failed = errno;
    }
    if (failed == 0 && ::rename(temporary.c_str(), folder_.c_str()) == 0) return;
    if (failed == 0) failed = errno;
    ::unlink(pointer.c_str());
    ::rmdir(temporary.c_str());
    // Somebody else came first.
    if (failed != EEXIST && failed != ENOTEMPTY) throw directory_error("cannot create " + folder_, failed);
  }

  /// Writes the version after `from`; returns it, or none if the pointer is no longer at `from`.
  [[nodiscard]] std::optional<std::uint64_t> replace(const Pointer& from, ByteView bytes) const {
    const auto version = from.version + 1;
    TemporaryFile value(folder_, {&bytes, 1}, fmt::format("{:016x}-", version));
    if (!move(from, {version, value.number()})) return std::nullopt;
    value.keep();
    return version;
  }

  /// Deletes the values that dead processes left: those of versions up to `now`, the pointer, which no pointer will
  /// have.
  void tidy(const Pointer& now) const {
    for (const auto& name : names_in(folder_)) {
      if (!name.starts_with('.')) continue;
      const auto value = parse_pointer(std::string_view(name).substr(1));
      if (value && value->version <= now.version && *value != now) remove_if_there(path_of_value(*value));
    }
  }

  /// Moves the pointer from `from` to `to`; false if it is no longer at `from`. Deletes what is old.
  [[nodiscard]] bool move(const Pointer& from, const Pointer& to) const {
    if (::rename(path_of(from).c_str(), path_of(to).c_str()) != 0) {
      if (errno != ENOENT) throw directory_error("cannot rename " + path_of(from), errno);
      // A network file system may have repeated a rename that had taken place.
      if (look() != to) return false;
    }
    tidy(to);
    return true;
  }

  /// Ends the call when its wait is over.
  void check_wait() const {
    throw_if_stopped(uri_, wait_);
    if (wait_.deadline.passed()) {
      throw Error(ErrorKind::kDeadlineExceeded, folder_ + ": others wrote all the time, and time is up");
    }
  }

 private:
  /// Pauses between looks at what should be there and is not, because others are at work; or it is gone for good.
  class Looks {
   public:
    explicit Looks(const RegisterFolder& folder) : folder_(&folder) {}
    Looks& operator=(const Looks& other) = default;
    void again(const char* what) {
      constexpr int kMost = 60;  // a quarter of a second
      if (++looks_ == kMost) throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", folder_->folder_, what));
      if (looks_ > 1) folder_->check_wait();
      pause(looks_ < 10 ? std::chrono::microseconds(50) : std::chrono::milliseconds(5), folder_->wait_);
    }

   private:
    const RegisterFolder* folder_;
    int looks_ = 0;
  };

  const std::string& uri_;
  const Wait& wait_;
  const std::string folder_;
};

}  // namespace

DirectoryRegister::DirectoryRegister(const std::filesystem::path& root, std::size_t max_value_bytes)
    : uri_(root.string()), max_value_bytes_(max_value_bytes) {}

void DirectoryRegister::check_size(std::string_view name, ByteView bytes) const {
  if (bytes.size() <= max_value_bytes_) return;
  throw Error(ErrorKind::kTooLarge, fmt::format("{}: a value of {} bytes for register \"{}\", but {} is the most", uri_,
                                                bytes.size(), name, max_value_bytes_));
}

std::optional<RegisterValue> DirectoryRegister::read(std::string_view name, const Wait& wait) {
  check_register_name(*this, name);
  auto [pointer, bytes] = RegisterFolder(uri_, name, wait).read(max_value_bytes_);
  if (!bytes) return std::nullopt;
  return RegisterValue{pointer->version, *std::move(bytes)};
}

std::uint64_t DirectoryRegister::write(std::string_view name, ByteView bytes, const Wait& wait) {
  check_register_name(*this, name);
  check_size(name, bytes);
  throw_if_stopped(uri_, wait);
  const RegisterFolder folder(uri_, name, wait);
  if (!folder.look()) folder.create();
  for (;;) {
    if (const auto version = folder.replace(folder.look().value_or(Pointer()), bytes)) return *version;
    folder.check_wait();
  }
}

std::optional<std::uint64_t> DirectoryRegister::compare_exchange(std::string_view name, std::uint64_t expected,
                                                                 ByteView bytes, const Wait& wait) {
  check_register_name(*this, name);
  check_size(name, bytes);
  throw_if_stopped(uri_, wait);
  const RegisterFolder folder(uri_, name, wait);
  auto from = folder.look();
  if (!from && expected == 0) {
    folder.create();
    from = folder.look();
  }
  if (!from || (from->value == 0 ? 0 : from->version) != expected) return std::nullopt;
  return folder.replace(*from, bytes);
}

RegisterValue DirectoryRegister::wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) {
  check_register_name(*this, name);
  const RegisterFolder folder(uri_, name, wait);
  Polling polling(wait, {.first = std::chrono::milliseconds(1)});  // what registers hold is no part of a round
  for (;;) {
    const auto seen = folder.look();
    if (seen && seen->version > version && seen->value != 0) {
      auto [pointer, bytes] = folder.read(max_value_bytes_);
      if (bytes) return {pointer->version, *std::move(bytes)};
    }
    ++polls_;
    throw_if_stopped(uri_, wait);
    if (!polling.pause()) break;
  }
  throw_if_stopped(uri_, wait);
  throw_not_newer(*this, name, version);
}

void DirectoryRegister::remove(std::string_view name, const Wait& wait) {
  check_register_name(*this, name);
  throw_if_stopped(uri_, wait);
  const RegisterFolder folder(uri_, name, wait);
  for (;;) {
    const auto from = folder.look();
    if (!from || from->value == 0 || folder.move(*from, {from->version + 1, 0})) return;
    folder.check_wait();
  }
}

}  // namespace virga
