#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "virga/engine/sandbox.h"
#include "virga/net/address.h"
#include "virga/net/sigv4.h"

namespace virga {

/// Functions of this machine behind AWS Lambda's own protocols, on a thread of its own: the Lambda REST API to clients,
/// the Runtime API to functions, each in a sandbox (docs/local-engine.md). When it is destroyed, or its process dies,
/// all its functions die. Raises this process's soft limit of open files to the hard one: an instance takes about ten.
class LocalEngine {
 public:
  struct Options {
    Address listen{.kind = Address::Kind::kTcp, .path = "", .host = "127.0.0.1", .port = 0};  ///< of the REST API
    /// For code and logs, of one engine at a time; made if missing. Code that an engine left there is removed, the
    /// last logs are kept.
    std::filesystem::path folder;
    std::string region = "us-east-1";
    Credentials credentials = {};                 ///< none: new ones are made
    std::vector<std::filesystem::path> writable;  ///< folders that functions may write to
    std::vector<std::filesystem::path> readable;  ///< folders below /tmp that they may read
    std::vector<Address> services;                ///< TCP services that functions may reach, by IPv4 numbers
    std::uint64_t memory_bytes = 0;               ///< for all functions together; 0: no limit
    double cpus = 1;                              ///< most for a function
    unsigned most_concurrent = 1000;
    std::chrono::milliseconds idle_time{300'000};  ///< then an instance that nobody uses is ended
    bool doubles_events = false;                   ///< delivers each Event twice
    std::vector<std::chrono::milliseconds> retry_pauses{std::chrono::minutes(1), std::chrono::minutes(2)};
    SandboxMaker::Want sandbox = SandboxMaker::Want::kAll;
  };

  /// Ready for requests when it returns. Throws Error: kConflict if the port or the folder is in use, kIo.
  explicit LocalEngine(Options options);
  ~LocalEngine();
  LocalEngine(const LocalEngine&) = delete;
  LocalEngine& operator=(const LocalEngine&) = delete;

  [[nodiscard]] const Address& address() const noexcept;  ///< with the port that was chosen
  [[nodiscard]] const Credentials& credentials() const noexcept;
  [[nodiscard]] const std::string& region() const noexcept;
  [[nodiscard]] const SandboxPowers& powers() const noexcept;
  /// All processes of all functions. Any thread.
  [[nodiscard]] std::vector<pid_t> processes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace virga
