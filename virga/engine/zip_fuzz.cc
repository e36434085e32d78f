#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include <unistd.h>

#include "virga/base/error.h"
#include "virga/engine/zip.h"

namespace virga {
namespace {

constexpr UnpackLimits kLimits{.bytes = 1 << 16, .members = 20};

/// A folder of this process alone, with a folder "in" in which zips are unpacked.
const std::filesystem::path& cage() {
  static const auto path = [] {
    std::string text = std::filesystem::temp_directory_path() / "virga_zip_fuzz.XXXXXX";
    check(::mkdtemp(text.data()) != nullptr, "a temporary folder");
    static const std::string made = text;
    std::atexit([] {
      std::error_code ignored;
      std::filesystem::remove_all(made, ignored);
    });
    return std::filesystem::path(made);
  }();
  return path;
}

bool is_promised(const Error& error) {
  return error.kind() == ErrorKind::kBadData || error.kind() == ErrorKind::kTooLarge;
}

/// Nothing is written but regular files and folders within the folder, within the limits; after an Error nothing.
void unpack(std::string_view zip) {
  const auto folder = cage() / "in";
  bool is_unpacked = false;
  try {
    unpack_zip(zip, folder, kLimits);
    is_unpacked = true;
  } catch (const Error& error) {
    check(is_promised(error), "the kind that is promised");
  }
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    check(is_unpacked, "nothing is left of a zip that was refused");
    check(!entry.is_symlink() && (entry.is_regular_file() || entry.is_directory()), "files and folders alone");
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  check(bytes <= kLimits.bytes, "the limit holds");
  std::filesystem::remove_all(folder);
  check(std::filesystem::is_empty(cage()), "nothing is written elsewhere");
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  const std::string_view zip(reinterpret_cast<const char*>(data), size);
  std::size_t members = 0;
  try {
    read_zip(
        zip, kLimits, [&](const UnpackedMember&) { ++members; }, [](std::string_view) {});
  } catch (const Error& error) {
    check(is_promised(error), "the kind that is promised");
  }
  if (members > 0) unpack(zip);
  return 0;
}
