#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "virga/engine/function_host.h"
#include "virga/engine/lambda_types.h"
#include "virga/net/http_server.h"
#include "virga/net/sigv4.h"

namespace virga {

/// AWS Lambda's REST API over a FunctionHost: functions are created, changed, listed, deleted and invoked; who has not
/// signed with its credentials is refused. What it does not know (layers, versions, aliases, images, URLs) is refused
/// by name. Handles requests on the host's thread.
class LambdaService {
 public:
  struct Options {
    std::filesystem::path folder;  ///< for code
    std::string region;
    std::string account = "000000000000";
    Credentials credentials;
  };

  LambdaService(FunctionHost& host, Options options);

  void handle(const HttpRequest& request, const HttpReply& reply);

 private:
  struct Function {
    lambda::FunctionConfiguration configuration;
    lambda::Variables tags;
    std::chrono::seconds retries_modified{};
  };
  struct Call;  // a request, taken apart
  using Route = void (LambdaService::*)(Call& call);

  void dispatch(Call& call);
  void create(Call& call);
  void list(Call& call);
  void get(Call& call);
  void get_configuration(Call& call);
  void update_configuration(Call& call);
  void update_code(Call& call);
  void remove(Call& call);
  void invoke(Call& call);
  void put_concurrency(Call& call);
  void get_concurrency(Call& call);
  void delete_concurrency(Call& call);
  void put_event_config(Call& call);
  void get_event_config(Call& call);
  void delete_event_config(Call& call);

  [[nodiscard]] std::filesystem::path unpack(const std::string& name, const std::string& zip);
  void install(Function& function, const std::string& zip);
  [[nodiscard]] std::string arn_of(const std::string& name) const;
  [[nodiscard]] Function& find(std::string_view name);

  FunctionHost& host_;
  const Options options_;
  std::map<std::string, Function> functions_;
  std::uint64_t packages_ = 0;  // unpacked so far
};

}  // namespace virga
