#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "virga/engine/lambda_limits.h"

namespace virga {

// Zip archives, as functions are deployed with.

struct ZipMember {
  std::string name;  ///< "bootstrap", "data/a": relative, without "." and ".."
  std::string_view bytes;
  unsigned mode = 0644;  ///< permissions
};

/// Stored: at once, for who unpacks it on the same machine. Deflated: small, for a network.
enum class ZipMethod : std::uint8_t { kStored, kDeflated };

/// An archive of these files. The same members give the same bytes: they have no time. Throws
/// Error(kInternal).
[[nodiscard]] std::string make_zip(std::span<const ZipMember> members, ZipMethod method = ZipMethod::kDeflated);

struct UnpackLimits {
  std::uint64_t bytes = lambda::kMostUnpackedBytes;  ///< of all files together
  std::size_t members = 10'000;
};

/// A file or folder of an archive that is being read.
struct UnpackedMember {
  std::string name;  ///< checked: it stays within the folder where it is put
  bool is_folder = false;
  unsigned mode = 0644;  ///< permissions, of reading, writing and execution alone
};
/// Reads an archive that may be hostile: `begin` is called for each member, then `data` with its bytes, in pieces.
/// Throws Error(kBadData), saying why, for what is no zip, damaged, encrypted, neither stored nor deflated, or holds a
/// link, a device, a name that leads elsewhere, or one name twice; kTooLarge beyond the limits; what the two throw.
void read_zip(std::string_view zip, const UnpackLimits& limits, const std::function<void(const UnpackedMember&)>& begin,
              const std::function<void(std::string_view)>& data);

/// Puts the files of an archive into `folder`, which is made or is empty; all or nothing. Files get their mode; all
/// users can read them, and run what its owner can. Throws as read_zip(), and Error(kConflict) for a
/// folder that holds something, kIo.
void unpack_zip(std::string_view zip, const std::filesystem::path& folder, const UnpackLimits& limits = {});

}  // namespace virga
