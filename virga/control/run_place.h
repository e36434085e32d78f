#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "virga/channel/register.h"
#include "virga/storage/object_store.h"

namespace virga {

/// How often who works on a run tells, and looks for, what is new. Where each time is some requests to a service it is
/// less often.
struct RunTempo {
  std::chrono::milliseconds heartbeat{500};  ///< of the driver
  std::chrono::milliseconds report{100};     ///< of a worker, at most
  std::chrono::milliseconds look{250};       ///< of a worker, for control records and the driver's heartbeat
  std::chrono::milliseconds driver_look{0};  ///< of the driver, for what workers have left, at least
};

/// A run's URI while functions work on it (docs/formats/run-folder.md): a folder, or a place at S3.
struct RunPlace {
  std::unique_ptr<ObjectStore> objects;
  std::unique_ptr<Register> registers;
  RunTempo tempo;
};

/// Touches nothing. Credentials for S3 are those of the process's environment. Throws as open_object_store().
[[nodiscard]] RunPlace open_run_place(std::string_view uri);

}  // namespace virga
