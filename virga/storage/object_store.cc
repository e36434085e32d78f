#include "virga/storage/object_store.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "virga/storage/directory_object_store.h"
#include "virga/storage/s3_object_store.h"

namespace virga {
namespace {

constexpr std::string_view kFile = "file://";
constexpr std::size_t kLongestName = 900;
constexpr std::size_t kLongestPart = 200;  // a file name has at most 255 bytes, a temporary one is a little longer

bool is_part(std::string_view part) noexcept {
  return !part.empty() && part.size() <= kLongestPart && part.front() != '.' &&
         std::ranges::none_of(part, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

}  // namespace

void ObjectStore::remove_all(std::span<const std::string> names) {
  for (const auto& name : names) remove(name);
}

bool is_object_name(std::string_view name) noexcept {
  if (name.size() > kLongestName) return false;
  while (true) {
    const auto slash = name.find('/');
    if (!is_part(name.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

Error bad_object_name(const std::string& uri, std::string_view name) {
  return {ErrorKind::kUsage, fmt::format("{}: not a name for an object: \"{}\"", uri, name.substr(0, 200)),
          "use parts of 1 to 200 characters between single '/', none of which begins with '.'"};
}

std::optional<std::filesystem::path> store_directory(std::string_view uri) {
  if (uri.starts_with(kFile)) return uri.substr(kFile.size());
  if (uri.find("://") != std::string_view::npos) return {};
  return uri;
}

std::unique_ptr<ObjectStore> open_object_store(std::string_view uri, const Environment& environment) {
  if (uri.empty()) throw Error(ErrorKind::kUsage, "the place of a data set is empty", "give the path of a directory");
  if (uri.starts_with(kFile)) {
    const auto path = uri.substr(kFile.size());
    if (!path.starts_with('/')) {
      throw Error(ErrorKind::kUsage, fmt::format("{}: a file URI needs an absolute path", uri), "write file:///path");
    }
    return std::make_unique<DirectoryObjectStore>(path);
  }
  if (uri.starts_with("s3://")) {
    auto credentials = std::make_shared<AwsCredentials>(AwsCredentials::Options{.environment = environment});
    return std::make_unique<S3ObjectStore>(
        S3Client::Options{.place = parse_s3_uri(uri, environment), .credentials = std::move(credentials)});
  }
  if (uri.find("://") != std::string_view::npos) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: this kind of store is not built", uri),
                "give the path of a directory, file:///path or s3://bucket/prefix");
  }
  return std::make_unique<DirectoryObjectStore>(uri);
}

}  // namespace virga
