#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <unistd.h>

#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/channel/memcached_client.h"
#include "virga/net/service_process_testing.h"
#include "virga/net/socket.h"

namespace virga {

/// A real Memcached, at a socket in a folder of its own.
class MemcachedService {
 public:
  explicit MemcachedService(const std::vector<std::string>& arguments = {}) : arguments_(arguments) {
    auto name = (std::filesystem::temp_directory_path() / "virga_memcached.XXXXXX").string();
    check(::mkdtemp(name.data()) != nullptr, "a folder can be made");
    folder_ = name;
    start();
  }
  ~MemcachedService() {
    process_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  MemcachedService(const MemcachedService&) = delete;
  MemcachedService& operator=(const MemcachedService&) = delete;

  void start() {
    std::vector<std::string> command = {"memcached", "-s", path(), "-a", "0600", "-t", "2"};
    if (::geteuid() == 0) command.insert(command.end(), {"-u", "root"});
    command.insert(command.end(), arguments_.begin(), arguments_.end());
    process_.emplace(command, "the Debian package memcached");
    process_->await([this] { return answers(); });
  }
  /// As by kill -9.
  void kill() { process_.reset(); }
  [[nodiscard]] bool runs() const { return process_.has_value(); }
  [[nodiscard]] ServiceProcess& process() { return *process_; }

  /// All that there are.
  [[nodiscard]] std::vector<std::string> keys() const {
    std::vector<std::string> keys;
    MemcachedClient(uri(), "").list([&](std::string_view key) { keys.emplace_back(key); },
                                    {Deadline::in(std::chrono::seconds(20))});
    return keys;
  }
  [[nodiscard]] std::string uri() const { return "memcached:unix:" + path(); }
  [[nodiscard]] Address address() const { return parse_address("unix:" + path()); }

 private:
  [[nodiscard]] std::string path() const { return (folder_ / "socket").string(); }
  [[nodiscard]] bool answers() const {
    try {
      return static_cast<bool>(connect_to(address(), nullptr, Deadline::in(std::chrono::seconds(1))));
    } catch (const Error&) {
      return false;
    }
  }

  std::filesystem::path folder_;
  const std::vector<std::string> arguments_;
  std::optional<ServiceProcess> process_;
};

}  // namespace virga
