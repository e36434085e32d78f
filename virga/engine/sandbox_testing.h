#pragma once

#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "virga/engine/sandbox.h"

namespace virga {

/// How a program ended, and what it said.
struct Ran {
  Sandbox::End end;
  std::string output;
  Sandbox::Usage usage;
};

/// /bin/sh that runs `script`, with limits that are out of its way.
[[nodiscard]] SandboxSpec shell(const std::string& script);
/// Python that runs `script`.
[[nodiscard]] SandboxSpec python(const std::string& script);

/// Reads until the program has ended, looking every 50 ms; fails the test if that takes a minute.
[[nodiscard]] Ran finish(Sandbox& sandbox);
[[nodiscard]] Ran run(SandboxMaker& maker, const SandboxSpec& spec);
/// Reads until the output holds `text`; fails the test if that takes a minute.
[[nodiscard]] std::string read_until(Sandbox& sandbox, const std::string& text);

/// Looks every few milliseconds whether `condition` holds; false after a minute.
template <class Condition>
[[nodiscard]] bool eventually(Condition condition);

/// What a sandbox could leave behind on this machine.
struct Leftovers {
  std::set<pid_t> processes;  ///< below this one
  std::set<std::string> groups;
  std::string mounts;
  std::set<std::string> namespaces;  ///< of processes below this one
  bool operator==(const Leftovers&) const = default;
};
[[nodiscard]] Leftovers what_is_there();

/// False, and says that the test was not run, where this machine lacks a power.
[[nodiscard]] bool has(const std::string& power, const char* name);

}  // namespace virga

#include <thread>

template <class Condition>
bool virga::eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}
