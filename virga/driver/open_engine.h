#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "virga/driver/functions_run.h"
#include "virga/engine/engine.h"
#include "virga/net/address.h"

namespace virga {

/// The engine of a run, ready to invoke: for kLocal with the run's function created; both are gone when it is
/// destroyed. `environment`: of the functions; `services`: what they must reach. Throws Error(kNotFound) if
/// virga-function is not there, kIo.
[[nodiscard]] std::unique_ptr<Engine> open_engine(const FunctionsPlace& place,
                                                  std::map<std::string, std::string> environment,
                                                  std::vector<Address> services);

}  // namespace virga
