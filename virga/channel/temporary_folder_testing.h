#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {

/// An empty folder that lives as long as this object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    auto name = testing::TempDir() + "virga_channel_test.XXXXXX";
    check(::mkdtemp(name.data()) != nullptr, "a folder can be made");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace virga
