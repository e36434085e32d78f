#pragma once

#include <filesystem>

#include "virga/storage/object_store.h"

namespace virga {

/// Objects as files below one directory. Where the names of two objects are "a" and "a/b", one of them cannot be
/// stored: put() throws Error(kIo).
class DirectoryObjectStore final : public ObjectStore {
 public:
  explicit DirectoryObjectStore(std::filesystem::path root);

  void put(std::string_view name, ByteView bytes, Durability durability = Durability::kVisible) override;
  [[nodiscard]] Bytes get(std::string_view name, std::uint64_t limit = std::uint64_t{1} << 32) const override;
  void get_range(std::string_view name, std::uint64_t offset, std::span<std::byte> out) const override;
  [[nodiscard]] std::uint64_t size(std::string_view name) const override;
  [[nodiscard]] bool exists(std::string_view name) const override;
  [[nodiscard]] std::vector<ObjectInfo> list(std::string_view prefix = "") const override;
  void remove(std::string_view name) override;
  [[nodiscard]] const std::string& uri() const noexcept override { return uri_; }

 private:
  [[nodiscard]] std::filesystem::path path_of(std::string_view name) const;

  std::filesystem::path root_;
  std::string uri_;
};

}  // namespace virga
