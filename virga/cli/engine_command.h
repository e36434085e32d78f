#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "virga/cli/session.h"
#include "virga/engine/local_engine.h"

namespace virga {

/// What the flags of `virga engine` say, as they were written.
struct EngineFlags {
  std::string listen = "tcp:127.0.0.1:3001";
  std::string folder;  ///< "": "engine" in VIRGA_HOME
  std::string region = "us-east-1";
  std::string memory;  ///< "": all that this machine permits; "none": no limit
  std::uint64_t concurrency = 1000;
  std::string idle = "5min";
  std::vector<std::string> writable;
  std::vector<std::string> readable;
  std::vector<std::string> services;
  bool double_events = false;
};

/// The options that they make. A key pair comes from VIRGA_ENGINE_ACCESS_KEY_ID and VIRGA_ENGINE_SECRET_ACCESS_KEY, if
/// they are set. Throws Error(kUsage), naming the flag or the variable; kNotFound for a folder that is not there.
[[nodiscard]] LocalEngine::Options engine_options(const EngineFlags& flags, const Session& session);

}  // namespace virga
