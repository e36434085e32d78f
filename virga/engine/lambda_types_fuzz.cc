#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/engine/lambda_types.h"

namespace virga::lambda {
namespace {

/// What is read is written and read again unchanged; all else is an Error. `forget`: what is only ever read.
template <typename Decode, typename Forget>
void there_and_back(std::string_view text, const Decode& decode, const Forget& forget) {
  try {
    auto document = decode(text);
    forget(document);
    check(decode(encode(document)) == document, "a document comes back");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kBadData, "the kind that is promised");
  }
}

}  // namespace
}  // namespace virga::lambda

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga::lambda;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto nothing = [](auto&) {};
  const auto others = [](auto& document) {
    (void)objection(document);
    document.others.clear();
  };
  there_and_back(text, decode_function_configuration, nothing);
  there_and_back(text, decode_function_description, nothing);
  there_and_back(text, decode_function_page, nothing);
  there_and_back(text, decode_concurrency, nothing);
  there_and_back(text, decode_event_invoke_config, nothing);
  there_and_back(text, decode_create_function, others);
  there_and_back(text, decode_update_function_configuration, others);
  there_and_back(text, decode_update_function_code, others);
  (void)decode_function_error(text);
  return 0;
}
