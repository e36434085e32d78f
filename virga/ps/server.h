#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace virga {

struct PsServerOptions {
  /// Where to listen: see Address.
  std::vector<std::string> listen;
  /// What clients must know; may be empty where only this machine reaches the server.
  std::string token;
  /// For messages and registers, with what is needed to keep them.
  std::uint64_t memory_bytes = std::uint64_t{1} << 30;
  unsigned max_connections = 1024;
  /// A client that owes bytes, or does not take what it asked for, is cut off after so long without progress.
  std::chrono::milliseconds stall_timeout = std::chrono::minutes(1);
};

/// A data store: messages and registers of any number of jobs, for clients over TCP and Unix sockets
/// (docs/formats/ps-protocol.md). All is kept in memory and is gone with the server. It runs on a thread of its own
/// until it is destroyed; then its clients see their connections end.
class PsServer {
 public:
  /// Listens when it returns. Throws Error: kUsage for options that cannot be (an address that other machines reach
  /// needs a token), kConflict for an address that is taken, kIo.
  explicit PsServer(const PsServerOptions& options);
  ~PsServer();
  PsServer(const PsServer&) = delete;
  PsServer& operator=(const PsServer&) = delete;

  /// Where it listens, in the order of the options, with the ports that were chosen.
  [[nodiscard]] const std::vector<std::string>& addresses() const noexcept { return addresses_; }

 private:
  class Loop;
  std::vector<std::string> addresses_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace virga
