#include "virga/ps/session.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace virga {
namespace {

/// Output beyond this waits in the store, where it may still be retired: a client that does not read pins little.
constexpr std::uint64_t kMaxPinnedBytes = 4 << 20;
/// Replies that have not been read while further requests come: enough for those of some puts.
constexpr std::uint64_t kMaxUnreadBytes = 4 << 10;
constexpr std::uint32_t kMaxHelloBytes = 16 + kPsMaxTokenBytes + kPsMaxJobBytes;

}  // namespace

PsSession::PsSession(PsService& service, std::function<void()> wake, std::optional<Error> refusal)
    : service_(service), wake_(std::move(wake)), refusal_(std::move(refusal)), reader_(kMaxHelloBytes) {}

PsSession::~PsSession() {
  service_.release(incoming_.reserved);
  if (job_ == nullptr) return;
  forget_get();
  forget_register_wait();
  service_.leave(*job_);
}

void PsSession::take(ByteView bytes) {
  if (is_over_) return;
  try {
    take_frames(bytes);
  } catch (const Error& error) {
    reply(error);
    is_over_ = true;
  }
}

void PsSession::take_frames(ByteView bytes) {
  for (;;) {
    if (!bytes.empty() && (get_ || register_wait_ || out_.bytes() > kMaxUnreadBytes)) {
      throw Error(ErrorKind::kCorrupt, "message of a data store: a request came before the last one was answered");
    }
    switch (reader_.feed(bytes)) {
      case FrameReader::Step::kMore:
        return;
      case FrameReader::Step::kHead:
        begin();
        break;
      case FrameReader::Step::kBody:
        if (incoming_.refusal || !receive_next()) finish_body();
        break;
    }
  }
}

void PsSession::begin() {
  request_ = parse_request(reader_.frame(), reader_.head());
  if ((job_ == nullptr) != std::holds_alternative<PsHello>(request_)) {
    throw Error(ErrorKind::kCorrupt, "message of a data store: the first request, and only it, is a hello");
  }
  const auto body = reader_.frame().body_bytes;
  if (const auto* put = std::get_if<PsPut>(&request_)) {
    begin_body(body + put->items.size() * MessageStore::kEntryOverhead);
  } else if (const auto* write = std::get_if<PsWriteRegister>(&request_)) {
    begin_body(body + write->name.size() + MessageStore::kEntryOverhead);
  } else if (const auto* exchange = std::get_if<PsExchangeRegister>(&request_)) {
    begin_body(body + exchange->name.size() + MessageStore::kEntryOverhead);
  } else {
    perform();
    end_request();
  }
}

void PsSession::begin_body(std::uint64_t memory) {
  try {
    service_.reserve(memory);
  } catch (const Error& error) {
    incoming_.refusal = error;
    reader_.skip(reader_.frame().body_bytes);
    return;
  }
  incoming_.reserved = memory;
  if (std::holds_alternative<PsPut>(request_)) {
    incoming_.entries.reserve(std::get<PsPut>(request_).items.size());
    static_cast<void>(receive_next());
  } else {
    incoming_.value =
        SharedBytes::make(reader_.frame().body_bytes, [this](std::span<std::byte> to) { reader_.fill(to); });
  }
}

bool PsSession::receive_next() {
  const auto* put = std::get_if<PsPut>(&request_);
  if (put == nullptr || incoming_.entries.size() == put->items.size()) return false;
  const auto& item = put->items[incoming_.entries.size()];
  // The bytes come later, and nobody else sees them before.
  incoming_.entries.push_back(
      {item.key, SharedBytes::make(item.bytes, [this](std::span<std::byte> to) { reader_.fill(to); })});
  return true;
}

void PsSession::finish_body() {
  service_.release(std::exchange(incoming_.reserved, 0));
  if (incoming_.refusal) {
    reply(*incoming_.refusal);
  } else {
    perform();
  }
  incoming_ = {};
  end_request();
}

void PsSession::perform() {
  try {
    std::visit([this](auto& request) { handle(request); }, request_);
  } catch (const Error& error) {
    if (job_ == nullptr) throw;
    reply(error);
  }
}

void PsSession::end_request() {
  request_ = {};
  reader_.next();
}

void PsSession::handle(const PsHello& hello) {
  if (refusal_) throw Error(*refusal_);
  job_ = &service_.enter(hello);
  reader_.set_max_head_bytes(kPsMaxHeadBytes);
  reply(PsDone());
}

void PsSession::handle(const PsPing&) { reply(PsDone()); }

void PsSession::handle(const PsPut&) {
  service_.put(*job_, std::move(incoming_.entries));
  reply(PsDone());
}

void PsSession::handle(PsGet& get) {
  service_.begin_waits(get.keys.size());
  get_ = Get{.keys = std::move(get.keys),
             .until = Clock::now() + std::chrono::milliseconds(get.wait_ms),
             .is_over = get.wait_ms == 0};
  get_->states.resize(get_->keys.size(), Get::State::kReady);
  for (std::uint32_t i = 0; i < get_->keys.size(); ++i) {
    if (job_->messages.find(get_->keys[i]) != nullptr) {
      get_->ready.push_back(i);
    } else {
      await(i);
    }
  }
  pump();
}

void PsSession::handle(const PsTryGet& get) {
  const auto* found = job_->messages.find(get.key);
  reply(PsValue{.version = found != nullptr ? 1U : 0U, .bytes = found != nullptr ? found->size() : 0},
        found != nullptr ? *found : SharedBytes());
}

void PsSession::handle(const PsRetire& retire) {
  service_.retire(*job_, retire);
  reply(PsDone());
}

void PsSession::handle(const PsSweep& sweep) {
  service_.sweep(*job_, sweep);
  reply(PsDone());
}

void PsSession::handle(const PsContents&) {
  reply(PsStored{.messages = job_->messages.messages(), .bytes = job_->messages.bytes()});
}

void PsSession::handle(const PsReadRegister& read) { reply_value(job_->registers.find(read.name)); }

void PsSession::handle(const PsWriteRegister& write) {
  reply(PsVersion{service_.write(*job_, write.name, std::move(incoming_.value), {})});
}

void PsSession::handle(const PsExchangeRegister& exchange) {
  reply(PsVersion{service_.write(*job_, exchange.name, std::move(incoming_.value), exchange.expected)});
}

void PsSession::handle(PsWaitRegister& wait) {
  const auto* value = job_->registers.find(wait.name);
  if (value != nullptr && value->version > wait.version) {
    reply_value(value);
  } else if (wait.wait_ms == 0) {
    reply_value(nullptr);
  } else {
    job_->register_waiters[wait.name].push_back(this);
    register_wait_ = RegisterWait{.name = std::move(wait.name),
                                  .version = wait.version,
                                  .until = Clock::now() + std::chrono::milliseconds(wait.wait_ms)};
  }
}

void PsSession::handle(const PsRemoveRegister& remove) {
  service_.remove(*job_, remove.name);
  reply(PsDone());
}

void PsSession::reply(const Error& error) {
  has_error_ = true;
  reply(PsError{.kind = error.kind(), .what = error.what(), .remedy = error.remedy()});
}

void PsSession::reply_value(const RegisterStore::Value* value) {
  if (value == nullptr) {
    reply(PsValue());
  } else {
    reply(PsValue{.version = value->version, .bytes = value->bytes.size()}, value->bytes);
  }
}

void PsSession::await(std::uint32_t index) {
  get_->states[index] = Get::State::kWaiting;
  ++get_->waiting;
  job_->message_waiters[get_->keys[index]].push_back({this, index});
}

void PsSession::message_arrived(std::uint32_t index) {
  if (!get_) return;  // it ended with an earlier message of the same put
  get_->states[index] = Get::State::kReady;
  --get_->waiting;
  get_->ready.push_back(index);
  pump();
  wake_();
}

void PsSession::pump() {
  if (!get_) return;
  while (!get_->ready.empty() && out_.bytes() < kMaxPinnedBytes) {
    const auto index = get_->ready.front();
    get_->ready.pop_front();
    const auto* bytes = job_->messages.find(get_->keys[index]);
    if (bytes == nullptr) {
      await(index);  // retired since it came
      continue;
    }
    get_->states[index] = Get::State::kSent;
    get_->has_sent = true;
    reply(PsMessage{.index = index, .bytes = bytes->size()}, *bytes);
  }
  if (!get_->ready.empty() || (get_->waiting > 0 && !get_->is_over)) return;
  PsEnd end;
  for (std::uint32_t i = 0; i < get_->keys.size(); ++i) {
    if (get_->states[i] == Get::State::kWaiting) end.missing.push_back(i);
  }
  forget_get();
  reply(end);
}

void PsSession::forget_get() {
  if (!get_) return;
  for (std::uint32_t i = 0; i < get_->keys.size(); ++i) {
    if (get_->states[i] != Get::State::kWaiting) continue;
    const auto at = job_->message_waiters.find(get_->keys[i]);
    if (at == job_->message_waiters.end()) continue;
    std::erase_if(at->second, [this](const PsJob::Waiter& waiter) { return waiter.session == this; });
    if (at->second.empty()) job_->message_waiters.erase(at);
  }
  service_.end_waits(get_->keys.size());
  get_.reset();
}

void PsSession::register_written() {
  const auto* value = job_->registers.find(register_wait_->name);
  if (value->version <= register_wait_->version) return;
  forget_register_wait();
  reply_value(value);
  wake_();
}

void PsSession::forget_register_wait() {
  if (!register_wait_) return;
  const auto at = job_->register_waiters.find(register_wait_->name);
  std::erase(at->second, this);
  if (at->second.empty()) job_->register_waiters.erase(at);
  register_wait_.reset();
}

void PsSession::sent(std::size_t count) {
  out_.sent(count);
  if (out_.empty()) has_error_ = false;
  pump();
}

std::optional<PsSession::Clock::time_point> PsSession::due() const {
  if (get_ && !get_->is_over) return get_->until;
  if (register_wait_) return register_wait_->until;
  return std::nullopt;
}

void PsSession::expired(Clock::time_point now) {
  if (get_ && now >= get_->until) {
    get_->is_over = true;
    pump();
  } else if (register_wait_ && now >= register_wait_->until) {
    forget_register_wait();
    reply_value(nullptr);
  }
}

}  // namespace virga
