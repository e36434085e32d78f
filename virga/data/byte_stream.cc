#include "virga/data/byte_stream.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include "virga/base/hash.h"

namespace virga {

/// The file as it is, through a buffer that decoders look into.
class ByteStream::Raw {
 public:
  explicit Raw(const std::string& path) : path_(path), owned_(path != "-") {
    if (owned_) descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) throw system_error("cannot read " + path, errno);
  }
  ~Raw() {
    if (owned_ && descriptor_ >= 0) ::close(descriptor_);
  }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;

  /// Bytes that have been buffered and not been taken; empty only at the end.
  [[nodiscard]] std::span<const char> buffered() {
    if (next_ == end_) {
      buffer_.resize(kBuffer);
      next_ = 0;
      end_ = read_file(buffer_);
    }
    return std::span<const char>(buffer_).subspan(next_, end_ - next_);
  }
  void take(std::size_t count) { next_ += count; }

  /// Takes bytes past the buffer.
  [[nodiscard]] std::size_t read(std::span<char> out) {
    if (next_ == end_) return read_file(out);
    const auto count = std::min(out.size(), end_ - next_);
    std::memcpy(out.data(), buffer_.data() + next_, count);
    next_ += count;
    return count;
  }

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t crc() const noexcept { return crc_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  static constexpr std::size_t kBuffer = std::size_t{256} << 10;

  /// Smaller than `out` only at the end, also for a pipe.
  std::size_t read_file(std::span<char> out) {
    std::size_t done = 0;
    while (done < out.size()) {
      const auto count = ::read(descriptor_, out.data() + done, out.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw system_error("cannot read " + path_, errno);
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    crc_ = crc32c(std::as_bytes(out.first(done)), crc_);
    bytes_.fetch_add(done, std::memory_order_relaxed);
    return done;
  }

  const std::string path_;
  const bool owned_;
  int descriptor_ = STDIN_FILENO;
  std::atomic<std::uint64_t> bytes_{0};
  std::uint32_t crc_ = 0;
  std::vector<char> buffer_;
  std::size_t next_ = 0;
  std::size_t end_ = 0;
};

/// Turns the bytes of a file into those that it stands for.
class ByteStream::Decoder {
 public:
  explicit Decoder(Raw& raw) : raw_(raw) {}
  virtual ~Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  /// At least one byte, unless it is the end.
  [[nodiscard]] virtual std::size_t read_some(std::span<char> out) = 0;

 protected:
  [[noreturn]] void fail(std::string_view reason) const {
    throw Error(ErrorKind::kBadData, fmt::format("{}: {}", raw_.path(), reason), "fetch the file again, or unpack it");
  }
  [[noreturn]] void fail_cut_short() const { fail("the packed data end too early; the file is cut short"); }

  Raw& raw_;
};

namespace {

class PlainDecoder final : public ByteStream::Decoder {
 public:
  using Decoder::Decoder;
  std::size_t read_some(std::span<char> out) override { return raw_.read(out); }
};

class GzipDecoder final : public ByteStream::Decoder {
 public:
  explicit GzipDecoder(ByteStream::Raw& raw) : Decoder(raw) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) throw Error(ErrorKind::kInternal, "zlib does not start");
  }
  ~GzipDecoder() override { inflateEnd(&stream_); }

  std::size_t read_some(std::span<char> out) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(out.size(), std::size_t{1} << 30));
    const auto room = stream_.avail_out;
    while (stream_.avail_out == room) {
      const auto in = raw_.buffered();
      if (in.empty() && inside_) fail_cut_short();
      if (in.empty() || (!inside_ && !begin_member(in))) return 0;
      step(in);
    }
    return room - stream_.avail_out;
  }

 private:
  void step(std::span<const char> in) {
    // zlib's interface is older than const.
    stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    const int result = inflate(&stream_, Z_NO_FLUSH);
    raw_.take(in.size() - stream_.avail_in);
    if (result == Z_STREAM_END) {
      inside_ = false;
    } else if (result == Z_MEM_ERROR) {
      throw Error(ErrorKind::kTooLarge, "not enough memory to unpack " + raw_.path());
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail(fmt::format("the gzip data are damaged ({})", stream_.msg != nullptr ? stream_.msg : "unknown"));
    }
  }

  /// Another member, or zeros up to the end of the file, which tapes and some tools leave behind.
  [[nodiscard]] bool begin_member(std::span<const char> in) {
    if (in.front() == '\0') {
      for (; !in.empty(); in = raw_.buffered()) {
        if (std::ranges::any_of(in, [](char c) { return c != '\0'; })) fail("there is something behind the gzip data");
        raw_.take(in.size());
      }
      return false;
    }
    inflateReset(&stream_);
    inside_ = true;
    return true;
  }

  z_stream stream_{};
  bool inside_ = true;  // a member
};

class ZstdDecoder final : public ByteStream::Decoder {
 public:
  explicit ZstdDecoder(ByteStream::Raw& raw) : Decoder(raw), stream_(ZSTD_createDStream()) {
    if (!stream_) throw Error(ErrorKind::kTooLarge, "not enough memory to unpack " + raw.path());
  }

  std::size_t read_some(std::span<char> out) override {
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    while (output.pos == 0) {
      const auto in = raw_.buffered();
      // With no input left the decoder may still hold output; only then is a frame that has not ended cut short.
      if (in.empty() && !inside_) return 0;
      ZSTD_inBuffer input{in.data(), in.size(), 0};
      const auto result = ZSTD_decompressStream(stream_.get(), &output, &input);
      if (ZSTD_isError(result) != 0)
        fail(fmt::format("the Zstandard data are damaged ({})", ZSTD_getErrorName(result)));
      raw_.take(input.pos);
      inside_ = result != 0;
      if (in.empty() && output.pos == 0) fail_cut_short();
    }
    return output.pos;
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const noexcept { ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  bool inside_ = false;  // a frame
};

std::unique_ptr<ByteStream::Decoder> make_decoder(ByteStream::Raw& raw) {
  const auto head = raw.buffered();
  const std::string_view text(head.data(), head.size());
  if (text.starts_with("\x1f\x8b")) return std::make_unique<GzipDecoder>(raw);
  if (text.starts_with("\x28\xb5\x2f\xfd")) return std::make_unique<ZstdDecoder>(raw);
  return std::make_unique<PlainDecoder>(raw);
}

}  // namespace

ByteStream::ByteStream(const std::string& path) : raw_(std::make_unique<Raw>(path)), decoder_(make_decoder(*raw_)) {}
ByteStream::~ByteStream() = default;

std::size_t ByteStream::read(std::span<char> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto count = decoder_->read_some(out.subspan(done));
    if (count == 0) break;
    done += count;
  }
  return done;
}

std::uint64_t ByteStream::raw_bytes() const noexcept { return raw_->bytes(); }
SourceInfo ByteStream::source() const { return {.path = raw_->path(), .bytes = raw_->bytes(), .crc32c = raw_->crc()}; }

std::uint64_t input_file_size(const std::string& path) {
  struct stat status {};
  const int failed = path == "-" ? ::fstat(STDIN_FILENO, &status) : ::stat(path.c_str(), &status);
  if (failed != 0) throw system_error("cannot read " + path, errno);
  return S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0;
}

std::string read_head(const std::string& path, std::size_t bytes) {
  std::string head(bytes, '\0');
  ByteStream stream(path);
  head.resize(stream.read(head));
  return head;
}

}  // namespace virga
