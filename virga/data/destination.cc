#include "virga/data/destination.h"

#include <string_view>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::string_view kManifest = "manifest.json";
constexpr std::string_view kArrays = "encoding.bin";
constexpr std::string_view kSplits[] = {"train/", "validation/", "test/"};

/// What a killed import left of files that it was writing (write_file_atomically()): ".NAME.XXXXXX".
void remove_unfinished(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const auto name = entry->path().stem().string();  // without the random letters
    const bool ours = name == fmt::format(".{}", kManifest) || name == fmt::format(".{}", kArrays) ||
                      (name.starts_with('.') && name.ends_with(".blk"));
    std::error_code ignored;
    if (ours) std::filesystem::remove(entry->path(), ignored);
  }
}

}  // namespace

Destination::Destination(const std::string& uri, bool overwrite)
    : place_(store_directory(uri)),
      directory_(place_ ? *place_ : std::filesystem::temp_directory_path()),
      existed_(std::filesystem::exists(directory_)),
      store_(open_object_store(uri)) {
  if (place_ && existed_ && !std::filesystem::is_directory(*place_)) {
    throw Error(ErrorKind::kConflict, fmt::format("{}: it is no directory, and a set becomes one", uri),
                "choose another place");
  }
  if (overwrite || !store_->exists(kManifest)) return;
  throw Error(ErrorKind::kConflict, fmt::format("{}: there is a data set already", store_->uri()),
              "choose another place, or replace it with --overwrite");
}

Destination::~Destination() {
  if (published_) return;
  try {
    if (begun_) remove_all();
  } catch (const Error&) {
    // What is left has no manifest and is removed by the next import to this place.
  }
  if (!place_) return;
  // Folders that are empty.
  std::error_code ignored;
  for (const auto split : kSplits) std::filesystem::remove(*place_ / split.substr(0, split.size() - 1), ignored);
  if (!existed_) std::filesystem::remove(*place_, ignored);
}

void Destination::begin() {
  remove_all();
  begun_ = true;
}

void Destination::remove_all() const {
  store_->remove(kManifest);
  store_->remove(kArrays);
  for (const auto split : kSplits) {
    for (const auto& object : store_->list(split)) {
      if (object.name.ends_with(".blk")) store_->remove(object.name);
    }
    if (place_) remove_unfinished(*place_ / split.substr(0, split.size() - 1));
  }
  if (place_) remove_unfinished(*place_);
}

void Destination::publish(const Manifest& manifest) {
  write_manifest(*store_, manifest);
  published_ = true;
}

}  // namespace virga
