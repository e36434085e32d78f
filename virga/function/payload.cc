#include "virga/function/payload.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

}  // namespace

std::string encode_payload(const Payload& payload) {
  const json j = {{"version", kVersion},
                  {"run", payload.run},
                  {"task", payload.task},
                  {"worker", payload.member.worker},
                  {"generation", payload.member.generation},
                  {"epoch", payload.epoch},
                  {"lifetime_ms", payload.lifetime.count()}};
  try {
    return j.dump();
  } catch (const json::exception&) {
    throw Error(ErrorKind::kUnsupported, "the place of a run on functions is not valid UTF-8");
  }
}

Payload decode_payload(std::string_view text) {
  if (text.size() > kMostPayloadBytes) {
    throw Error(ErrorKind::kBadData,
                fmt::format("the payload has {} bytes, but {} is the most", text.size(), kMostPayloadBytes));
  }
  try {
    const auto j = json::parse(text);
    if (const auto version = j.at("version").get<int>(); version != kVersion) {
      throw Error(ErrorKind::kBadData,
                  fmt::format("the payload has version {}, this function knows {}", version, kVersion),
                  "use one build of Virga for the driver and its functions");
    }
    Payload payload;
    payload.run = j.at("run");
    payload.task = j.at("task");
    payload.member = {j.at("worker"), j.at("generation")};
    payload.epoch = j.at("epoch");
    payload.lifetime = std::chrono::milliseconds(j.at("lifetime_ms").get<std::int64_t>());
    if (payload.task != "worker" && payload.task != "evaluate") {
      throw Error(ErrorKind::kBadData, fmt::format("the payload's task is \"{}\"", payload.task.substr(0, 100)),
                  "this function knows \"worker\" and \"evaluate\"");
    }
    return payload;
  } catch (const json::exception& error) {
    throw Error(ErrorKind::kBadData, fmt::format("the payload cannot be read: {}", error.what()));
  }
}

std::string encode_answer(const Answer& answer) {
  json j = {{"version", kVersion}, {"end", answer.end}, {"loss", answer.loss ? json(*answer.loss) : json(nullptr)}};
  if (!answer.error_kind.empty()) {
    j["error"] = {{"code", answer.error_kind}, {"message", answer.message}, {"remedy", answer.remedy}};
  }
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

Answer decode_answer(std::string_view text) {
  try {
    const auto j = json::parse(text);
    if (j.at("version") != kVersion) {
      throw Error(ErrorKind::kCorrupt, "a function's answer has another version than this program knows",
                  "use one build of Virga for the driver and its functions");
    }
    Answer answer;
    answer.end = j.at("end");
    if (!j.at("loss").is_null()) answer.loss = j.at("loss").get<double>();
    if (j.contains("error")) {
      const auto& error = j.at("error");
      answer.error_kind = error.at("code");
      answer.message = error.at("message");
      answer.remedy = error.at("remedy");
    }
    return answer;
  } catch (const json::exception& error) {
    throw Error(ErrorKind::kCorrupt, fmt::format("a function's answer cannot be read: {}", error.what()));
  }
}

}  // namespace virga
