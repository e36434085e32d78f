#include <cstddef>
#include <cstdint>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/data/byte_stream.h"

/// Unpacks whatever it is, up to 1 MiB.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const int file = ::memfd_create("fuzz", MFD_CLOEXEC);
  virga::check(file >= 0 && ::write(file, data, size) == static_cast<ssize_t>(size), "a file in memory can be written");
  try {
    virga::ByteStream stream(fmt::format("/proc/self/fd/{}", file));
    std::string buffer(std::size_t{1} << 16, '\0');
    for (int i = 0; i < 16 && stream.read(buffer) == buffer.size(); ++i) {
    }
    virga::check(stream.raw_bytes() <= size, "no more is read than there is");
  } catch (const virga::Error& error) {
    virga::check(error.kind() == virga::ErrorKind::kBadData || error.kind() == virga::ErrorKind::kTooLarge,
                 "damaged data are bad data");
  }
  ::close(file);
  return 0;
}
