#include "virga/control/run_place.h"

#include "virga/channel/directory_register.h"
#include "virga/channel/open_channel.h"
#include "virga/storage/object_uri.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kRegisters = "registers";
constexpr RunTempo kAtS3{.heartbeat = 2s, .report = 2s, .look = 1s, .driver_look = 500ms};

}  // namespace

RunPlace open_run_place(std::string_view uri) {
  auto objects = open_object_store(uri);
  if (is_s3_uri(uri)) return {std::move(objects), open_register(uri, kRegisters, ""), kAtS3};
  const auto folder = store_directory(uri).value_or(uri) / kRegisters;
  return {std::move(objects), std::make_unique<DirectoryRegister>(folder), {}};
}

}  // namespace virga
