#include "virga/ps/service.h"

#include <algorithm>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/secret.h"
#include "virga/base/units.h"
#include "virga/ps/session.h"

namespace virga {
PsJob& PsService::enter(const PsHello& hello) {
  if (!same_secret(token_, hello.token)) {
    throw Error(ErrorKind::kUnauthorized,
                token_.empty() ? "the store takes no token, but one was given" : "the token is wrong",
                "give the client the token that the store was started with");
  }
  auto& job = jobs_[hello.job];
  ++job.sessions;
  return job;
}

void PsService::leave(PsJob& job) {
  if (--job.sessions > 0 || job.messages.messages() > 0 || !job.registers.empty()) return;
  const auto at = std::ranges::find_if(jobs_, [&](const auto& entry) { return &entry.second == &job; });
  jobs_.erase(at);
}

void PsService::reserve(std::uint64_t bytes) {
  if (const auto left = memory_bytes_ - std::min(memory(), memory_bytes_); bytes > left) {
    throw Error(ErrorKind::kTooLarge,
                fmt::format("the store is full: {} more do not fit, {} of its {} are taken", format_bytes(bytes),
                            format_bytes(memory()), format_bytes(memory_bytes_)),
                "give virga-ps more with --memory, or send less at a time");
  }
  reserved_ += bytes;
}

void PsService::begin_waits(std::size_t count) {
  if (count > kPsMaxWaits - waits_) {
    throw Error(ErrorKind::kThrottled,
                fmt::format("{} messages are waited for already, {} is the limit", waits_, kPsMaxWaits),
                "wait for fewer messages at a time, or start another virga-ps");
  }
  waits_ += count;
}

void PsService::put(PsJob& job, std::vector<MessageStore::Entry> entries) {
  std::vector<PsKey> awaited;
  if (!job.message_waiters.empty()) {
    for (const auto& entry : entries) {
      if (job.message_waiters.contains(entry.key)) awaited.push_back(entry.key);
    }
  }
  change(job, [&] {
    if (const auto taken = job.messages.put(std::move(entries))) {
      throw Error(ErrorKind::kConflict, "other bytes were put before: " + to_string(*taken),
                  "two functions act as the same rank, or a job's name is used twice");
    }
  });
  for (const auto& key : awaited) {
    const auto node = job.message_waiters.extract(key);
    if (node.empty()) continue;
    for (const auto& waiter : node.mapped()) waiter.session->message_arrived(waiter.index);
  }
}

void PsService::retire(PsJob& job, const PsRetire& retire) {
  change(job, [&] { job.messages.retire(retire); });
}

void PsService::sweep(PsJob& job, const PsSweep& sweep) {
  change(job, [&] { job.messages.sweep(sweep.view); });
}

std::uint64_t PsService::write(PsJob& job, std::string_view name, SharedBytes bytes,
                               std::optional<std::uint64_t> expected) {
  std::uint64_t version = 0;
  change(job, [&] { version = job.registers.write(name, std::move(bytes), expected); });
  if (const auto at = job.register_waiters.find(name); version != 0 && at != job.register_waiters.end()) {
    const auto waiters = at->second;  // those that have what they want leave the list
    for (auto* session : waiters) session->register_written();
  }
  return version;
}

void PsService::remove(PsJob& job, std::string_view name) {
  change(job, [&] { job.registers.remove(name); });
}

}  // namespace virga
