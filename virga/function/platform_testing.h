#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "virga/net/socket.h"

namespace virga {

/// A platform that says what it is told to: answers the n-th request with the n-th reply, on whatever connection the
/// request comes. Any number of connections, one after the other.
class ScriptedPlatform {
 public:
  struct Reply {
    std::string bytes;
    bool closes = false;  ///< the connection, afterwards
  };
  struct Request {
    std::string line;     ///< "GET /2018-06-01/runtime/invocation/next"
    std::string headers;  ///< as they came
    std::string body;
    int connection = 0;  ///< on which it came, from 1
  };

  explicit ScriptedPlatform(std::vector<Reply> script);
  ~ScriptedPlatform();
  ScriptedPlatform(const ScriptedPlatform&) = delete;
  ScriptedPlatform& operator=(const ScriptedPlatform&) = delete;

  /// What AWS_LAMBDA_RUNTIME_API is to be.
  [[nodiscard]] std::string address() const;
  /// What has been asked so far.
  [[nodiscard]] std::vector<Request> requests() const;

 private:
  void run();
  [[nodiscard]] bool read_request(Request& request);
  [[nodiscard]] bool wait_for(int socket, short events);
  void write(std::string_view bytes);

  const std::vector<Reply> script_;
  Listener listener_;
  WakeEvent stop_;
  Descriptor socket_;
  int connections_ = 0;
  mutable std::mutex mutex_;  // guards requests_
  std::vector<Request> requests_;
  std::thread thread_;  // last: uses what stands above
};

/// "HTTP/1.1 STATUS" with headers and a body of known length.
[[nodiscard]] ScriptedPlatform::Reply reply_of(int status, const std::string& body = "",
                                               const std::string& headers = "");
/// An invocation that may go on for `time`.
[[nodiscard]] ScriptedPlatform::Reply event_of(const std::string& id, const std::string& body,
                                               std::chrono::milliseconds time = std::chrono::minutes(15));

/// virga-function, or what `program` names, with nothing but `variables` ("NAME=value") in its environment; waits for
/// its end.
struct FunctionEnd {
  int exit_code = -1;  ///< 128 + signal when a signal ended it
  double cpu_seconds = 0;
  std::string out;
  std::string err;
};
[[nodiscard]] FunctionEnd run_function(const std::vector<std::string>& arguments,
                                       const std::vector<std::string>& variables = {},
                                       const std::filesystem::path& program = {});
/// Of $VIRGA_BIN_DIR.
[[nodiscard]] std::filesystem::path virga_function_program();

/// An empty folder that lives as long as this object.
class FunctionFolder {
 public:
  FunctionFolder();
  ~FunctionFolder();
  FunctionFolder(const FunctionFolder&) = delete;
  FunctionFolder& operator=(const FunctionFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace virga
