#include "virga/storage/s3_client.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "virga/storage/s3_calls.h"
#include "virga/storage/xml.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMostParts = 10'000;
constexpr std::uint64_t kMostObjectBytes = std::uint64_t{5} << 40;
constexpr std::size_t kMostPages = 10'000;
constexpr auto kAbortTime = 5s;

/// Asks the service to say what checksum it has, if it has one.
const HttpHeader kWithChecksum{.name = "x-amz-checksum-mode", .value = "ENABLED"};

std::uint64_t size_of(const S3Client::Put& object) noexcept {
  std::uint64_t bytes = 0;
  for (const auto part : object.parts) bytes += part.size();
  return bytes;
}

/// The next `count` bytes of `parts`, which they are taken from.
std::vector<ByteView> take(std::span<ByteView>& parts, std::uint64_t count) {
  std::vector<ByteView> taken;
  while (count > 0 && !parts.empty()) {
    auto& first = parts.front();
    const auto piece = first.first(static_cast<std::size_t>(std::min<std::uint64_t>(count, first.size())));
    taken.push_back(piece);
    count -= piece.size();
    first = first.subspan(piece.size());
    if (first.empty()) parts = parts.subspan(1);
  }
  return taken;
}

std::string_view text_of(const S3Answer& answer) { return as_text(answer.body); }

}  // namespace

class S3Client::Impl {
 public:
  explicit Impl(Options options) : calls(std::move(options)) {}

  S3Answer perform_one(S3Request request, const Wait& wait) {
    return std::move(calls.perform({&request, 1}, wait).front());
  }
  S3Answer need_one(S3Request request, const Wait& wait) {
    auto answer = perform_one(std::move(request), wait);
    if (answer.error) throw Error(*answer.error);
    return answer;
  }

  /// What a reader makes of an answer; its complaints name the request.
  template <typename Read>
  auto read(const char* operation, const Read& reader, const S3Answer& answer) {
    try {
      return reader(text_of(answer));
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("S3 {} {}: {}", operation, calls.options().place.uri, error.what()),
                  "check that the endpoint is that of an S3 service");
    }
  }

  void put_in_parts(const Put& object, const Wait& wait) {
    auto created = need_one(
        {.operation = "CreateMultipartUpload", .method = "POST", .key = object.key, .query = "uploads="}, wait);
    const auto id = read("CreateMultipartUpload", read_s3_upload_id, created);
    const auto of_upload = "uploadId=" + percent_encode(id);
    try {
      complete(object, of_upload, put_parts(object, of_upload, wait), wait);
    } catch (const Error&) {
      // Should this fail as well, the parts stay until the bucket's own rules clear them away.
      (void)perform_one(
          {.operation = "AbortMultipartUpload", .method = "DELETE", .key = object.key, .query = of_upload},
          {.deadline = Deadline::in(kAbortTime)});
      throw;
    }
  }

  S3Calls calls;

 private:
  /// Returns the tags of the parts.
  std::vector<std::string> put_parts(const Put& object, const std::string& of_upload, const Wait& wait) {
    const auto size = size_of(object);
    const auto part_bytes = std::max(calls.options().part_bytes, (size + kMostParts - 1) / kMostParts);
    auto views = object.parts;
    std::span<ByteView> left(views);
    std::vector<S3Request> requests;
    for (std::uint64_t at = 0; at < size; at += part_bytes) {
      requests.push_back({.operation = "UploadPart",
                          .method = "PUT",
                          .key = object.key,
                          .query = fmt::format("partNumber={}&{}", requests.size() + 1, of_upload),
                          .body = take(left, part_bytes)});
    }
    std::vector<std::string> tags;
    for (const auto& answer : calls.perform(requests, wait)) {
      if (answer.error) throw Error(*answer.error);
      const auto* tag = find_header(answer.head.headers, "ETag");
      tags.push_back(tag == nullptr ? "" : *tag);
    }
    return tags;
  }

  void complete(const Put& object, const std::string& of_upload, const std::vector<std::string>& tags,
                const Wait& wait) {
    std::string list = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    for (std::size_t i = 0; i < tags.size(); ++i) {
      list += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", i + 1, xml_escape(tags[i]));
    }
    list += "</CompleteMultipartUpload>";
    const auto answer = perform_one({.operation = "CompleteMultipartUpload",
                                     .method = "POST",
                                     .key = object.key,
                                     .query = of_upload,
                                     .headers = {{.name = "Content-Type", .value = "application/xml"}},
                                     .body = {as_bytes(list)}},
                                    wait);
    if (answer.error) {
      // An attempt that seemed to fail may have done it.
      const bool is_done =
          answer.worked_before && answer.refusal.code == "NoSuchUpload" && head_of(object.key, wait) == size_of(object);
      if (!is_done) throw Error(*answer.error);
      return;
    }
    if (const auto refusal = read("CompleteMultipartUpload", read_s3_completion, answer)) {
      throw Error(kind_of(*refusal), fmt::format("S3 CompleteMultipartUpload {}/{}: {}: {}", calls.options().place.uri,
                                                 object.key, refusal->code, refusal->message));
    }
  }

 public:
  std::optional<std::uint64_t> head_of(const std::string& key, const Wait& wait) {
    const auto answer = perform_one({.operation = "HeadObject", .method = "HEAD", .key = key}, wait);
    if (answer.error && answer.error->kind() == ErrorKind::kNotFound) return {};
    if (answer.error) throw Error(*answer.error);
    const auto* length = find_header(answer.head.headers, "Content-Length");
    if (length == nullptr) {
      throw Error(ErrorKind::kBadData,
                  fmt::format("S3 HeadObject {}/{}: the answer has no length", calls.options().place.uri, key));
    }
    return std::strtoull(length->c_str(), nullptr, 10);
  }
};

S3Client::S3Client(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
S3Client::~S3Client() = default;

void S3Client::put(std::span<const Put> objects, const Wait& wait) {
  std::vector<S3Request> requests;
  for (const auto& object : objects) {
    const auto size = size_of(object);
    if (size > kMostObjectBytes) {
      throw Error(ErrorKind::kTooLarge,
                  fmt::format("{}/{}: S3 takes no object of {} bytes", place().uri, object.key, size));
    }
    if (size > 2 * impl_->calls.options().part_bytes) {
      impl_->put_in_parts(object, wait);
    } else {
      requests.push_back({.operation = "PutObject", .method = "PUT", .key = object.key, .body = object.parts});
    }
  }
  for (const auto& answer : impl_->calls.perform(requests, wait)) {
    if (answer.error) throw Error(*answer.error);
  }
}

void S3Client::get_all(std::span<const std::string> keys, std::uint64_t limit, const OnObject& on_object,
                       const Wait& wait) {
  std::vector<S3Request> requests;
  for (const auto& key : keys) {
    requests.push_back({.operation = "GetObject", .key = key, .headers = {kWithChecksum}, .limit = limit});
  }
  auto answers = impl_->calls.perform(requests, wait);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i].error) {
      on_object(i, std::move(answers[i].body));
    } else if (answers[i].error->kind() != ErrorKind::kNotFound || answers[i].refusal.code == "NoSuchBucket") {
      throw Error(*answers[i].error);
    }
  }
}

std::optional<Bytes> S3Client::get(const std::string& key, std::uint64_t limit, const Wait& wait) {
  std::optional<Bytes> bytes;
  get_all(
      {&key, 1}, limit, [&](std::size_t, Bytes got) { bytes = std::move(got); }, wait);
  return bytes;
}

void S3Client::get_range(const std::string& key, std::uint64_t offset, std::span<std::byte> out, const Wait& wait) {
  constexpr std::uint64_t kFarthest = std::uint64_t{1} << 62;
  const auto cut_short = [&] {
    const auto size = impl_->head_of(key, wait);
    return Error(size ? ErrorKind::kCorrupt : ErrorKind::kNotFound,
                 size ? fmt::format("{}/{}: {} bytes at {} were asked for, but it has {} bytes", place().uri, key,
                                    out.size(), offset, *size)
                      : fmt::format("{}/{}: there is no such object", place().uri, key),
                 size ? "the object was cut short or replaced; store it anew" : "check the name");
  };
  if (out.empty() || offset > kFarthest) {
    const auto size = impl_->head_of(key, wait);
    if (!size || offset > *size || !out.empty()) throw cut_short();
    return;
  }
  const auto answer = impl_->perform_one(
      {.operation = "GetObject",
       .key = key,
       .headers = {{.name = "Range", .value = fmt::format("bytes={}-{}", offset, offset + out.size() - 1)}},
       .into = out},
      wait);
  if (answer.refusal.status == 416 || answer.refusal.code == "InvalidRange") throw cut_short();
  if (answer.error) throw Error(*answer.error);
  if (answer.head.status != 206 && offset != 0) {
    throw Error(ErrorKind::kBadData, fmt::format("S3 GetObject {}/{}: the service knows no ranges", place().uri, key),
                "use a service that does");
  }
  if (answer.body_bytes != out.size()) throw cut_short();
}

std::optional<std::uint64_t> S3Client::head(const std::string& key, const Wait& wait) {
  return impl_->head_of(key, wait);
}

std::vector<S3Object> S3Client::list(std::string_view prefix, std::string_view before, const Wait& wait) {
  std::vector<S3Object> objects;
  const auto own = place().prefix;
  const auto query = fmt::format("list-type=2&max-keys={}&prefix={}", impl_->calls.options().page_objects,
                                 percent_encode(own + std::string(prefix)));
  std::string token;
  for (std::size_t pages = 0; pages < kMostPages; ++pages) {
    const auto answer =
        impl_->need_one({.operation = "ListObjectsV2",
                         .of_bucket = true,
                         .query = token.empty() ? query : query + "&continuation-token=" + percent_encode(token)},
                        wait);
    auto page = impl_->read("ListObjectsV2", read_s3_list, answer);
    const bool is_past =
        !before.empty() && !page.objects.empty() && page.objects.back().key >= own + std::string(before);
    for (auto& object : page.objects) {
      if (!object.key.starts_with(own)) continue;  // a service that does not know prefixes
      object.key.erase(0, own.size());
      if (!before.empty() && object.key >= before) continue;
      objects.push_back(std::move(object));
    }
    if (page.next.empty() || is_past) {
      std::ranges::sort(objects, {}, &S3Object::key);
      return objects;
    }
    token = std::move(page.next);
  }
  throw Error(ErrorKind::kTooLarge, fmt::format("S3 ListObjectsV2 {}: more than {} pages", place().uri, kMostPages));
}

void S3Client::remove(std::span<const std::string> keys, const Wait& wait) {
  std::vector<S3Request> requests;
  for (const auto& key : keys) requests.push_back({.operation = "DeleteObject", .method = "DELETE", .key = key});
  for (const auto& answer : impl_->calls.perform(requests, wait)) {
    if (!answer.error) continue;
    if (answer.error->kind() != ErrorKind::kNotFound || answer.refusal.code == "NoSuchBucket")
      throw Error(*answer.error);
  }
}

const S3Place& S3Client::place() const noexcept { return impl_->calls.options().place; }
S3Client::Counts S3Client::counts() const { return impl_->calls.counts(); }
ServiceUse S3Client::used_by_process() noexcept { return S3Calls::used_by_process(); }

}  // namespace virga
