#include <cstdlib>
#include <string_view>

#include "virga/base/error.h"
#include "virga/function/payload.h"

/// What is read is written and read again unchanged; all else is an Error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto payload = decode_payload(text);
    check(decode_payload(encode_payload(payload)) == payload, "a payload comes back");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kBadData, "the kind that is promised");
  }
  try {
    const auto answer = decode_answer(text);
    if (!answer.error_kind.empty()) check(decode_answer(encode_answer(answer)) == answer, "an answer comes back");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "the kind that is promised");
  }
  return 0;
}
