#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "virga/data/manifest.h"
#include "virga/storage/object_store.h"

namespace virga {

/// The place where a set is being written. Unless it is published, nothing of it stays.
class Destination {
 public:
  /// Throws Error(kConflict) if a set is there and may not be replaced, and what open_object_store() throws.
  Destination(const std::string& uri, bool overwrite);
  ~Destination();
  Destination(const Destination&) = delete;
  Destination& operator=(const Destination&) = delete;

  [[nodiscard]] ObjectStore& store() noexcept { return *store_; }
  /// Where temporary files may lie.
  [[nodiscard]] const std::filesystem::path& directory() const noexcept { return directory_; }

  /// From here on blocks may be put: removes a set that was here, its manifest first, and what a killed import left.
  void begin();
  void publish(const Manifest& manifest);

 private:
  void remove_all() const;

  const std::optional<std::filesystem::path> place_;  // the directory that becomes the set, if it is one
  const std::filesystem::path directory_;
  const bool existed_;  // the directory
  const std::unique_ptr<ObjectStore> store_;
  bool begun_ = false;
  bool published_ = false;
};

}  // namespace virga
