#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "virga/engine/sandbox.h"
#include "virga/engine/sandbox_init.h"
#include "virga/net/descriptor.h"

namespace virga {

/// What a program is to see of the files, besides everything read-only.
struct FilesView {
  struct Mount {
    std::string path;
    char kind = sandbox_init::kReadable;
    bool operator==(const Mount&) const = default;
  };
  bool cover_tmp = false;     ///< /tmp is a new, empty folder
  bool cover_run = false;     ///< /run is empty: the sockets of the machine's services are there
  std::vector<Mount> mounts;  ///< sorted by path
  bool operator==(const FilesView&) const = default;
};
/// From canonical paths. What of the program, its neighbours and the working folder would be covered is shown again.
[[nodiscard]] FilesView view_files(const std::filesystem::path& program, const std::filesystem::path& working_folder,
                                   const std::vector<std::filesystem::path>& writable,
                                   const std::vector<std::filesystem::path>& readable = {});

/// `spec` with its paths resolved. Throws Error(kNotFound) for a program that cannot be run, a folder that is not
/// there; kUsage for what no sandbox can be given.
[[nodiscard]] SandboxSpec resolve(const SandboxSpec& spec);

/// A memory file with the plan of a resolved `spec`. Throws Error(kTooLarge, kIo).
[[nodiscard]] Descriptor encode_plan(const SandboxSpec& spec, const SandboxPowers& powers, bool trial);

}  // namespace virga
