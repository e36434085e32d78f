#include "virga/channel/dynamo_register.h"

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/dynamo_items.h"
#include "virga/channel/pause.h"

namespace virga {
namespace {

constexpr std::size_t kMostRegisterBytes = (std::size_t{400} << 10) - 2048;
constexpr Pace kDynamoRegisterPace{.first = std::chrono::milliseconds(1), .longest = std::chrono::milliseconds(100)};

void append_value(ByteView bytes, std::string& to) {
  to += R"({"B":")";
  append_base64({&bytes, 1}, to);
  to += R"("})";
}

}  // namespace

DynamoRegister::DynamoRegister(std::shared_ptr<DynamoCalls> calls, std::string_view job)
    : calls_(std::move(calls)), job_(job) {}

std::size_t DynamoRegister::max_value_bytes() const noexcept { return kMostRegisterBytes; }

std::string DynamoRegister::begin(std::string_view name, std::string_view key_name) const {
  check_register_name(*this, name);
  const auto& place = calls_->options().place;
  auto request = fmt::format(R"({{"TableName":"{}","{}":)", place.table, key_name);
  append_key({dynamo_partition(place.prefix, job_, "r", name), "r"}, request);
  return request;
}

void DynamoRegister::check_size(std::string_view name, ByteView bytes) const {
  if (bytes.size() <= max_value_bytes()) return;
  throw Error(ErrorKind::kTooLarge, fmt::format("{}: a value of {} bytes for register \"{}\", but {} is the most",
                                                uri(), bytes.size(), name, max_value_bytes()));
}

std::optional<RegisterValue> DynamoRegister::read(std::string_view name, const Wait& wait) {
  auto body = begin(name, "Key") + R"(,"ConsistentRead":true})";
  const auto answer = calls_->perform(DynamoRequest{.operation = "GetItem", .body = std::move(body)}, wait);
  const auto item = read_one(answer.body);
  if (!item) return std::nullopt;
  if (!item->has_bytes || item->version == 0) {
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: what stands under \"{}\" is no register", uri(), name));
  }
  return RegisterValue{.version = item->version, .bytes = decode_base64(item->bytes)};
}

std::uint64_t DynamoRegister::write(std::string_view name, ByteView bytes, const Wait& wait) {
  auto body = begin(name, "Key");
  check_size(name, bytes);
  body += R"(,"UpdateExpression":"SET b = :b ADD v :one","ReturnValues":"UPDATED_NEW",)"
          R"("ExpressionAttributeValues":{":one":{"N":"1"},":b":)";
  append_value(bytes, body);
  body += "}}";
  const auto answer = calls_->perform(DynamoRequest{.operation = "UpdateItem", .body = std::move(body)}, wait);
  const auto item = read_one(answer.body);
  if (!item || item->version == 0) {
    throw Error(ErrorKind::kCorrupt, uri() + ": DynamoDB answers to a write without its version");
  }
  return item->version;
}

std::optional<std::uint64_t> DynamoRegister::compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait& wait) {
  auto body = begin(name, "Key");
  check_size(name, bytes);
  body += fmt::format(R"(,"UpdateExpression":"SET b = :b, v = :new","ConditionExpression":"{}",)"
                      R"("ExpressionAttributeValues":{{":new":{{"N":"{}"}})",
                      expected == 0 ? "attribute_not_exists(v)" : "v = :old", expected + 1);
  if (expected != 0) body += fmt::format(R"(,":old":{{"N":"{}"}})", expected);
  body += R"(,":b":)";
  append_value(bytes, body);
  body += "}}";
  const auto answer =
      calls_->perform(DynamoRequest{.operation = "UpdateItem", .body = std::move(body), .may_repeat = false}, wait);
  if (answer.condition_failed) return std::nullopt;
  return expected + 1;
}

RegisterValue DynamoRegister::wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) {
  for (Polling polling(wait, kDynamoRegisterPace);;) {
    try {
      if (auto value = read(name, wait); value && value->version > version) return *std::move(value);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDeadlineExceeded) throw;
      break;
    }
    throw_if_stopped(uri(), wait);
    if (!polling.pause()) break;
  }
  throw_if_stopped(uri(), wait);
  throw_not_newer(*this, name, version);
}

void DynamoRegister::remove(std::string_view name, const Wait& wait) {
  static_cast<void>(calls_->perform(DynamoRequest{.operation = "DeleteItem", .body = begin(name, "Key") + "}"}, wait));
}

}  // namespace virga
