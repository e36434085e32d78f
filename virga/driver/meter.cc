#include "virga/driver/meter.h"

#include <utility>

#include "virga/cost/bill.h"

namespace virga {
namespace {

std::string end_of(const Engine::Ended& ended, bool lost) {
  using Cause = Engine::Ended::Cause;
  if (lost) return "abandoned";
  switch (ended.cause) {
    case Cause::kAnswered:
      return ended.answer ? ended.answer->end : "crashed";
    case Cause::kCrashed:
    case Cause::kUnreachable:
      return "crashed";
    case Cause::kTimedOut:
      return "timeout";
    case Cause::kOutOfMemory:
      return "out_of_memory";
    case Cause::kThrottled:
      return "throttled";
  }
  return "crashed";
}

void copy(const InvocationBill& bill, InvocationRecord& record) {
  record.init = bill.init;
  record.duration = bill.duration;
  record.billed = bill.billed;
  record.peak_memory_bytes = bill.peak_memory_bytes;
}

void copy(const Answer& answer, InvocationRecord& record) {
  record.cpu_seconds = answer.cpu_seconds;
  if (record.peak_memory_bytes == 0) record.peak_memory_bytes = answer.peak_memory_bytes;
  if (!answer.work) return;
  const auto& work = *answer.work;
  record.rounds = work.rounds;
  record.messages_put = work.messages_put;
  record.messages_got = work.messages_got;
  record.bytes_put = work.bytes_put;
  record.bytes_got = work.bytes_got;
  record.phases = work.times;
}

}  // namespace

void StretchClock::lap(std::string what) {
  const double begin = stretches_.empty() ? 0 : stretches_.back().start_seconds + stretches_.back().seconds;
  const double now = std::chrono::duration<double>(Clock::now() - origin_).count();
  stretches_.push_back({.what = std::move(what), .start_seconds = begin, .seconds = now - begin});
}

VmFleet vm_fleet(const PriceTable& prices, const std::string& instance, std::uint32_t count) {
  return {.instance = instance, .count = count, .startup_seconds = startup_seconds(prices.startup.machines, count)};
}

InvocationMeter::InvocationMeter(Clock::time_point origin, const std::filesystem::path& ledger,
                                 std::uint64_t memory_bytes, const PriceTable& prices, std::optional<VmFleet> fleet)
    : origin_(origin),
      memory_bytes_(memory_bytes),
      prices_(prices),
      instance_(fleet ? fleet->instance : std::string()),
      fleet_(std::move(fleet)) {
  if (!ledger.empty()) writer_.emplace(ledger);
}

double InvocationMeter::seconds_since_origin(Clock::time_point time) const noexcept {
  return std::chrono::duration<double>(time - origin_).count();
}

void InvocationMeter::began(Engine::Invocation invocation, const Payload& payload) {
  running_[invocation] = {Clock::now(), payload};
}

InvocationRecord InvocationMeter::record_of(const Running& running) const {
  InvocationRecord record;
  record.task = running.payload.task;
  record.worker = running.payload.member.worker;
  record.generation = running.payload.member.generation;
  record.epoch = running.payload.epoch;
  record.start_seconds = seconds_since_origin(running.since);
  record.seconds = std::chrono::duration<double>(Clock::now() - running.since).count();
  record.memory_bytes = memory_bytes_;
  record.instance = instance_;
  return record;
}

void InvocationMeter::ended(const Engine::Ended& ended, bool lost) {
  const auto running = running_.extract(ended.invocation);
  if (running.empty()) return;
  auto record = record_of(running.mapped());
  record.end = end_of(ended, lost);
  if (ended.bill) copy(*ended.bill, record);
  if (ended.answer) {
    copy(*ended.answer, record);
  } else {
    record.said = ended.log_tail;
  }
  add(std::move(record));
}

void InvocationMeter::abandon() {
  for (const auto& [invocation, running] : std::exchange(running_, {})) {
    auto record = record_of(running);
    record.end = "abandoned";
    add(std::move(record));
  }
}

double InvocationMeter::seconds_of_machines() const {
  return std::chrono::duration<double>(Clock::now() - machines_since_).count();
}

void InvocationMeter::give_back_machines() {
  if (!fleet_) return;
  const auto fleet = *std::exchange(fleet_, std::nullopt);
  for (WorkerId worker = 0; worker < fleet.count; ++worker) {
    const VmRecord record{.worker = worker,
                          .instance = fleet.instance,
                          .start_seconds = seconds_since_origin(machines_since_),
                          .startup_seconds = fleet.startup_seconds,
                          .seconds = seconds_of_machines()};
    if (writer_) writer_->add(record);
    spent_ += price(record, prices_).total();
    ledger_.vms.push_back(record);
  }
}

void InvocationMeter::service(const std::string& name, Clock::time_point from, std::uint64_t writes,
                              std::uint64_t reads, std::uint64_t bytes) {
  const ServiceRecord record{.service = name,
                             .start_seconds = seconds_since_origin(from),
                             .seconds = std::chrono::duration<double>(Clock::now() - from).count(),
                             .writes = writes,
                             .reads = reads,
                             .bytes = bytes};
  if (writer_) writer_->add(record);
  ledger_.services.push_back(record);
}

Usd InvocationMeter::spent() const {
  auto sum = spent_;
  if (fleet_) {
    const auto& instance = find_instance(prices_, fleet_->instance);
    const auto each = vm_price(instance, fleet_->startup_seconds, seconds_of_machines());
    for (std::uint32_t i = 0; i < fleet_->count; ++i) sum += each;
  }
  if (!instance_.empty()) return sum;
  for (const auto& [invocation, running] : running_) {
    const auto& prices = prices_.functions;
    sum += invocation_price(prices, memory_bytes_, billed_time(prices, Clock::now() - running.since));
  }
  return sum;
}

Usd InvocationMeter::service_price(const std::string& name, Clock::time_point from) const {
  return service_time_price(service_prices(prices_, name), std::chrono::duration<double>(Clock::now() - from).count());
}

void InvocationMeter::add(InvocationRecord record) {
  spent_ += price(record, prices_).total();
  if (writer_) writer_->add(record);
  ledger_.invocations.push_back(std::move(record));
}

}  // namespace virga
