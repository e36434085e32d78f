#include "virga/driver/open_engine.h"

#include "virga/engine/process_engine.h"

namespace virga {

std::unique_ptr<Engine> open_engine(const FunctionsPlace& place,
                                    const std::map<std::string, std::string>& environment) {
  return std::make_unique<ProcessEngine>(ProcessEngine::Options{.program = place.program,
                                                                .folder = place.folder / "logs",
                                                                .environment = environment,
                                                                .grace = place.grace,
                                                                .twin = place.twin});
}

}  // namespace virga
