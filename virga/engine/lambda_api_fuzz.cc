#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "virga/base/error.h"
#include "virga/engine/lambda_api.h"

namespace virga {
namespace {

/// Up to the next line's end, which is taken away too.
std::string_view line_of(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  const auto line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

template <typename Work>
void expect_bad_data(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kBadData, "the kind that is promised");
  }
}

}  // namespace
}  // namespace virga

/// Lines: method, target (or status), headers as "name: value"; after an empty one the body.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  HttpRequest request;
  request.method = line_of(text);
  request.target = line_of(text);
  for (auto line = line_of(text); !line.empty(); line = line_of(text)) {
    const auto colon = line.find(": ");
    if (colon == std::string_view::npos) continue;
    request.headers.push_back(
        {.name = std::string(line.substr(0, colon)), .value = std::string(line.substr(colon + 2))});
  }
  request.body = text;
  expect_bad_data([&] {
    const auto call = lambda::call_of(request.method, request.target);
    if (!call || call->function.empty()) return;
    const auto again = lambda::request_for(call->operation, call->function);
    check(lambda::call_of(again.method, again.target)->function == call->function, "a call comes back");
  });
  expect_bad_data([&] {
    const auto invoke = lambda::decode_invoke_request(request);
    check(lambda::decode_invoke_request(encode(invoke)) == invoke, "an invocation comes back");
  });
  const HttpResponse response{
      .status = 200 + static_cast<int>(size % 400), .headers = request.headers, .body = request.body};
  expect_bad_data([&] { (void)lambda::decode_invoke_response(response); });
  const auto error = lambda::error_of(response);
  check(error.message.size() <= 2000, "an error is cut short");
  (void)kind_of(error);
  return 0;
}
