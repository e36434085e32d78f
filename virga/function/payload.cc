#include "virga/function/payload.h"

#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

json to_json(const Answer::Work& work) {
  json seconds;
  for (std::size_t i = 0; i < kWorkPhases; ++i) {
    const auto phase = static_cast<WorkPhase>(i);
    seconds[to_string(phase)] = std::chrono::duration<double>(work.times[phase]).count();
  }
  json j = {{"view", work.view},
            {"rounds", work.rounds},
            {"messages_put", work.messages_put},
            {"messages_got", work.messages_got},
            {"bytes_put", work.bytes_put},
            {"bytes_got", work.bytes_got},
            {"seconds", seconds}};
  if (work.paid != PaidRequests()) j["paid"] = {{"writes", work.paid.writes}, {"reads", work.paid.reads}};
  if (work.retries > 0) j["retries"] = work.retries;
  if (const auto& staleness = work.staleness; staleness.steps > 0) {
    j["staleness"] = {{"steps", staleness.steps},
                      {"sum", staleness.sum},
                      {"most", staleness.most},
                      {"overwritten", staleness.overwritten}};
  }
  return j;
}

Answer::Work work_from(const json& j) {
  Answer::Work work{.view = j.at("view"),
                    .rounds = j.at("rounds"),
                    .messages_put = j.at("messages_put"),
                    .messages_got = j.at("messages_got"),
                    .bytes_put = j.at("bytes_put"),
                    .bytes_got = j.at("bytes_got"),
                    .paid = {},
                    .retries = j.value("retries", std::uint64_t{0}),
                    .staleness = {},
                    .times = {}};
  if (j.contains("paid")) work.paid = {.writes = j.at("paid").at("writes"), .reads = j.at("paid").at("reads")};
  if (j.contains("staleness")) {
    const auto& staleness = j.at("staleness");
    work.staleness = {.steps = staleness.at("steps"),
                      .sum = staleness.at("sum"),
                      .most = staleness.at("most"),
                      .overwritten = staleness.at("overwritten")};
  }
  for (std::size_t i = 0; i < kWorkPhases; ++i) {
    const auto phase = static_cast<WorkPhase>(i);
    const auto seconds = j.at("seconds").at(to_string(phase)).get<double>();
    if (!(seconds >= 0 && seconds < 1e9))
      throw Error(ErrorKind::kCorrupt, "a function's answer has an impossible time");
    work.times.add(phase, std::chrono::nanoseconds(std::llround(seconds * 1e9)));
  }
  return work;
}

RequestLease lease_from(const json& j) {
  const RequestLease lease{.usd = Usd::picodollars(j.at("picodollars")),
                           .channel_write = j.at("channel").at(0),
                           .channel_read = j.at("channel").at(1),
                           .object_write = j.at("objects").at(0),
                           .object_read = j.at("objects").at(1)};
  for (const auto usd : {lease.channel_write, lease.channel_read, lease.object_write, lease.object_read}) {
    if (!(usd >= 0 && usd <= 1)) throw Error(ErrorKind::kBadData, "the payload has an impossible price of a request");
  }
  if (lease.usd < Usd()) throw Error(ErrorKind::kBadData, "the payload leases less than nothing");
  return lease;
}

}  // namespace

std::string encode_payload(const Payload& payload) {
  json j = {{"version", kVersion},
            {"run", payload.run},
            {"task", payload.task},
            {"worker", payload.member.worker},
            {"generation", payload.member.generation},
            {"epoch", payload.epoch},
            {"lifetime_ms", payload.lifetime.count()}};
  if (payload.leaves_answer) j["leaves_answer"] = true;
  if (const auto& lease = payload.requests) {
    j["requests"] = {{"picodollars", lease->usd.picodollars()},
                     {"channel", {lease->channel_write, lease->channel_read}},
                     {"objects", {lease->object_write, lease->object_read}}};
  }
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
    if (j.contains("leaves_answer")) payload.leaves_answer = j.at("leaves_answer");
    if (j.contains("requests")) payload.requests = lease_from(j.at("requests"));
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
  json j = {{"version", kVersion},
            {"end", answer.end},
            {"loss", answer.loss ? json(*answer.loss) : json(nullptr)},
            {"cpu_seconds", answer.cpu_seconds},
            {"peak_memory_bytes", answer.peak_memory_bytes}};
  if (answer.work) j["work"] = to_json(*answer.work);
  if (const auto& use = answer.objects; use != ServiceUse()) {
    j["objects"] = {{"writes", use.writes}, {"reads", use.reads}, {"bytes", use.bytes}};
  }
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
    answer.cpu_seconds = j.at("cpu_seconds");
    answer.peak_memory_bytes = j.at("peak_memory_bytes");
    if (j.contains("work")) answer.work = work_from(j.at("work"));
    if (j.contains("objects")) {
      const auto& use = j.at("objects");
      answer.objects = {.writes = use.at("writes"), .reads = use.at("reads"), .bytes = use.at("bytes")};
    }
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
