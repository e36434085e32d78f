#include <span>
#include <string>

#include "virga/training/model_file.h"

/// Damaged models are refused with an Error, also when the checksum has been made to fit; what is read can be written.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  try {
    auto content = parse_safetensors(std::as_bytes(std::span(data, size)), "input");
    if (content.tensors.size() + content.metadata.size() + 2 > kMostEntries) return 0;
    content.metadata["crc32c"] = std::to_string(model_checksum(content));
    const auto model = decode_model(encode_safetensors(content), "input");
    const auto again = decode_model(encode_model(model), "again");
    check(again.parameters == model.parameters && again.encoding == model.encoding && again.spec == model.spec,
          "a model is read back as it was written");
  } catch (const Error& error) {
    check(error.kind() != ErrorKind::kInternal, "the input is to blame");
  }
  return 0;
}
