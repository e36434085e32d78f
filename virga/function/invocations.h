#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "virga/function/payload.h"
#include "virga/function/runtime_api.h"

namespace virga {

/// What a function under the Runtime API consists of.
struct FunctionParts {
  /// Before the first invocation; what it throws is an error of the function's start.
  std::function<void()> start = [] {};
  /// The answer to a payload whose lifetime is that of the invocation, or less.
  std::function<Answer(const Payload&)> task;
  /// Lines for the log, without their ends.
  std::function<void(std::string_view)> log;
};

/// Answers one invocation after the other until the platform ends this function; then true. False, and the reason is in
/// the log: the function cannot start, or the platform is lost.
///
/// An answer that carries an error is an answer like others. An event that is no payload is answered as the function
/// error Virga.BadPayload, an exception of the task as Virga.Internal.
[[nodiscard]] bool answer_invocations(RuntimeApi& platform, const FunctionParts& parts) noexcept;

}  // namespace virga
