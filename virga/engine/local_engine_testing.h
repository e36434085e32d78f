#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/deadline.h"
#include "virga/engine/local_engine.h"
#include "virga/engine/zip.h"
#include "virga/net/http_client.h"
#include "virga/net/sigv4.h"

namespace virga {

inline constexpr std::chrono::seconds kEngineTestTime{60};

/// A function that does what its event says.
inline constexpr std::string_view kBootstrap = R"(#!/usr/bin/python3
import http.client, json, os, sys, time
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
base = '/2018-06-01/runtime/'
def call(method, path, body=None, headers={}):
    api.request(method, base + path, body, headers)
    answer = api.getresponse()
    return answer, answer.read()
if os.environ.get('INIT') == 'error':
    call('POST', 'init/error', json.dumps({'errorType': 'Own.Init', 'errorMessage': 'not today'}))
    sys.exit(1)
if os.environ.get('INIT') == 'exit':
    sys.exit(7)
count = 0
while True:
    answer, event = call('GET', 'invocation/next')
    request = answer.headers['Lambda-Runtime-Aws-Request-Id']
    count += 1
    event = json.loads(event)
    do = event.get('do')
    print('did', do, flush=True)
    result = {'do': do, 'count': count, 'pid': os.getpid()}
    if do == 'exit': sys.exit(3)
    if do == 'kill': os.kill(os.getpid(), 9)
    if do == 'hang': time.sleep(1000)
    if do == 'wait':
        while not os.path.exists(event['file']): time.sleep(0.002)
    if do == 'eat':
        held = bytearray(event['bytes'])
        for i in range(0, len(held), 4096): held[i] = 1
    if do == 'fail':
        call('POST', 'invocation/%s/error' % request, json.dumps({'errorType': 'Own', 'errorMessage': 'no'}),
             {'Lambda-Runtime-Function-Error-Type': 'Own'})
        continue
    if do == 'append':
        with open(event['file'], 'a') as file: file.write(request + '\n')
        if event.get('then') == 'fail': sys.exit(4)
    if do == 'write':
        try:
            open(event['file'], 'w').write('x')
            result['wrote'] = True
        except OSError as error:
            result['wrote'] = False
    if do == 'connect':
        import socket
        try:
            s = socket.create_connection(('127.0.0.1', event['port']), 5)
            s.sendall(b'hello')
            result['got'] = s.recv(100).decode()
        except OSError as error:
            result['got'] = 'error'
    if do == 'env': result['env'] = dict(os.environ)
    if do == 'log': print('x' * event['bytes'], flush=True)
    if do == 'big': result['big'] = 'x' * event['bytes']
    if do == 'deadline': result['left_ms'] = int(answer.headers['Lambda-Runtime-Deadline-Ms']) - time.time() * 1000
    body = json.dumps(result)
    if do == 'twice': call('POST', 'invocation/%s/response' % request, body)
    status = call('POST', 'invocation/%s/response' % request, body)[0].status
    if do == 'twice': print('second answer', status, flush=True)
)";

inline std::string zip_of(const std::string& name, std::string_view bytes) {
  const ZipMember member{.name = name, .bytes = bytes, .mode = 0755};
  return make_zip({&member, 1});
}

/// A local engine over a folder of its own, and signed requests to it.
class LocalEngineTest : public testing::Test {
 protected:
  LocalEngineTest() {
    std::string name = (std::filesystem::temp_directory_path() / "virga-engine-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    std::filesystem::create_directory(folder_ / "shared");
  }
  ~LocalEngineTest() override {
    engine_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  LocalEngine& engine(LocalEngine::Options options = {}) {
    options.folder = folder_ / "engine";
    options.writable = {folder_ / "shared"};
    return engine_.emplace(std::move(options));
  }

  HttpResponse call(std::string method, std::string target, std::string body = "",
                    std::vector<HttpHeader> headers = {}) {
    HttpRequest request{std::move(method), std::move(target), std::move(headers), std::move(body)};
    request.headers.push_back({"Host", fmt::format("127.0.0.1:{}", engine_->address().port)});
    sign(request, engine_->credentials(), {engine_->region(), "lambda"}, std::chrono::system_clock::now());
    return http_request(engine_->address(), request, Deadline::in(kEngineTestTime),
                        {.body_bytes = std::size_t{16} << 20});
  }

  void create(const std::string& name, const nlohmann::json& more = nlohmann::json::object(),
              std::string_view bootstrap = kBootstrap) {
    nlohmann::json request = {{"FunctionName", name},
                              {"Runtime", "provided.al2023"},
                              {"Role", "arn:aws:iam::000000000000:role/virga"},
                              {"Handler", "bootstrap"},
                              {"MemorySize", 256},
                              {"Timeout", 60},
                              {"Code", {{"ZipFile", base64_encode(zip_of("bootstrap", bootstrap))}}}};
    request.update(more);
    const auto response = call("POST", "/2015-03-31/functions", request.dump());
    ASSERT_EQ(response.status, 201) << response.body;
  }

  HttpResponse invoke(const std::string& name, const nlohmann::json& event, std::vector<HttpHeader> headers = {}) {
    return call("POST", "/2015-03-31/functions/" + name + "/invocations", event.dump(), std::move(headers));
  }
  static std::string header(const HttpResponse& response, std::string_view name) {
    const auto* value = find_header(response.headers, name);
    return value == nullptr ? "" : *value;
  }
  static nlohmann::json body(const HttpResponse& response) { return nlohmann::json::parse(response.body); }
  static std::string log_of(const HttpResponse& response) {
    return base64_decode(header(response, "X-Amz-Log-Result"));
  }
  static bool wait_until(const std::function<bool()>& condition) {
    const auto deadline = Deadline::in(kEngineTestTime);
    while (!condition()) {
      if (deadline.passed()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }
  static std::vector<std::string> lines(const std::filesystem::path& file) {
    std::ifstream in(file);
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }

  std::filesystem::path folder_;
  std::optional<LocalEngine> engine_;
};

}  // namespace virga
