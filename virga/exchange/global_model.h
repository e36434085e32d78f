#pragma once

#include <cstdint>
#include <string_view>

#include "virga/base/bytes.h"
#include "virga/batch/table.h"

namespace virga {

/// The value of the register that holds the one model of all ranks (AspExchange; docs/formats/global-model.md): all
/// `parameters`, and how many updates, one after the other, have led to them. Little-endian, with version and checksum.
[[nodiscard]] Bytes encode_global_model(const Tables& parameters, std::uint64_t updates);

/// The number of updates; the values go to `parameters`, whose layout says how many there are. Throws Error(kCorrupt),
/// naming `what`, for anything that is none of this layout.
std::uint64_t decode_global_model(ByteView bytes, std::string_view what, Tables& parameters);

/// How many bytes that is.
[[nodiscard]] std::size_t global_model_bytes(const Layout& layout) noexcept;

}  // namespace virga
