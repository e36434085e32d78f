#include "virga/storage/object_uri.h"

#include <algorithm>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/storage/object_store.h"

namespace virga {
namespace {

constexpr std::string_view kS3 = "s3://";

/// What follows the place, its question mark included.
std::string_view query_part(std::string_view uri) { return uri.substr(std::min(uri.find('?'), uri.size())); }

}  // namespace

bool is_s3_uri(std::string_view uri) noexcept { return uri.starts_with(kS3); }

std::string uri_within(std::string_view uri, std::string_view name) {
  const auto query = is_s3_uri(uri) ? query_part(uri) : std::string_view();
  auto place = uri.substr(0, uri.size() - query.size());
  while (place.size() > 1 && place.ends_with('/')) place.remove_suffix(1);
  return fmt::format("{}/{}{}", place, name, query);
}

ObjectUri parse_object_uri(std::string_view uri) {
  const auto query = query_part(uri);
  const auto place = uri.substr(0, uri.size() - query.size());
  const auto slash = place.rfind('/');
  const bool named = is_s3_uri(uri) && slash != std::string_view::npos && slash > kS3.size() &&
                     is_object_name(place.substr(slash + 1));
  if (!named) {
    // What follows the question mark is not repeated: somebody may have put a secret there.
    throw Error(ErrorKind::kUsage, fmt::format("{}: names no object at S3", place.substr(0, 300)),
                "write s3://bucket/prefix/name");
  }
  return {.store = fmt::format("{}{}", place.substr(0, slash), query), .name = std::string(place.substr(slash + 1))};
}

Bytes read_file_or_object(const std::string& path, const Environment& environment, std::uint64_t limit) {
  if (!is_s3_uri(path)) return read_file(path, limit);
  const auto [store, name] = parse_object_uri(path);
  return open_object_store(store, environment)->get(name, limit);
}

void write_file_or_object(const std::string& path, ByteView bytes, const Environment& environment) {
  if (!is_s3_uri(path)) return write_file_atomically(path, bytes);
  const auto [store, name] = parse_object_uri(path);
  open_object_store(store, environment)->put(name, bytes, Durability::kDurable);
}

void check_can_write_file_or_object(const std::string& path, const Environment& environment) {
  if (!is_s3_uri(path)) return check_can_write_file(path);
  const auto [store, name] = parse_object_uri(path);
  static_cast<void>(open_object_store(store, environment)->list(name));
}

}  // namespace virga
