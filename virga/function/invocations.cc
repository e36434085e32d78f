#include "virga/function/invocations.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <optional>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"

namespace virga {
namespace {

using std::chrono::milliseconds;

std::string text_of(const std::exception& error) {
  const auto* ours = dynamic_cast<const Error*>(&error);
  if (ours == nullptr) return error.what();
  return fmt::format("{}: {}{}{}", to_string(ours->kind()), ours->what(), ours->remedy().empty() ? "" : "; ",
                     ours->remedy());
}

Payload payload_of(const Invocation& invocation) {
  if (invocation.event_bytes > invocation.event.size()) {
    throw Error(ErrorKind::kBadData,
                fmt::format("the event has {} bytes, but {} is the most", invocation.event_bytes, kMostPayloadBytes));
  }
  auto payload = decode_payload(invocation.event);
  if (invocation.deadline) {
    const auto left = std::chrono::duration_cast<milliseconds>(invocation.deadline->remaining());
    payload.lifetime = std::min(payload.lifetime, left);
  }
  return payload;
}

std::string name_of(const Payload& payload) {
  if (payload.task != "worker") return fmt::format("{} epoch {}", payload.task, payload.epoch);
  return fmt::format("worker {} generation {}", payload.member.worker, payload.member.generation);
}

std::string end_of(const Answer& answer) {
  if (answer.end != "error") return answer.end;
  return fmt::format("error: {}: {}{}{}", answer.error_kind, answer.message, answer.remedy.empty() ? "" : "; ",
                     answer.remedy);
}

void answer_one(RuntimeApi& platform, const FunctionParts& parts, const Invocation& invocation) {
  const auto& id = invocation.request_id;
  const auto say = [&](std::string_view what) { parts.log(fmt::format("{} {}", id, what)); };
  const auto fail = [&](const std::string& type, const std::exception& error) {
    const auto text = text_of(error);
    say(fmt::format("ends: {}: {}", type, text));
    if (!platform.fail(id, {.type = type, .message = text})) say("the platform no longer waits for it");
  };

  std::optional<Payload> payload;
  try {
    payload = payload_of(invocation);
  } catch (const Error& error) {
    return fail(error.kind() == ErrorKind::kBadData ? "Virga.BadPayload" : "Virga.Internal", error);
  }
  const auto name = name_of(*payload);
  say(fmt::format("{} begins, {} ms left", name, payload->lifetime.count()));
  std::string answer;
  try {
    const auto result = parts.task(*payload);
    answer = encode_answer(result);
    say(fmt::format("{} ends: {}", name, end_of(result)));
  } catch (const std::exception& error) {
    return fail("Virga.Internal", error);
  }
  crash_point("before_answer");
  if (!platform.respond(id, answer)) say("the platform no longer waits for it");
  crash_point("after_answer");
}

}  // namespace

bool answer_invocations(RuntimeApi& platform, const FunctionParts& parts) noexcept {
  bool started = false;
  try {
    parts.start();
    while (const auto invocation = platform.next()) {
      started = true;
      answer_one(platform, parts, *invocation);
    }
    return true;
  } catch (const std::exception& error) {
    parts.log(text_of(error));
    if (started) return false;
    try {
      platform.fail_init({.type = "Virga.Start", .message = text_of(error)});
    } catch (const std::exception&) {
      // The log has the reason; a platform that cannot be reached knows that this function has ended.
    }
    return false;
  }
}

}  // namespace virga
