#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/ps/frame_reader.h"
#include "virga/ps/message_store.h"
#include "virga/ps/out_queue.h"
#include "virga/ps/service.h"

namespace virga {

/// One client of a data store: its bytes in, its replies out, no I/O. A client reads the whole reply to a request
/// before the next; only what is answered in a few bytes (a put) may be followed at once.
class PsSession {
 public:
  using Clock = Deadline::Clock;

  /// `wake` is called when output is there that a call of another session has caused. With `refusal` the hello gets
  /// this answer. `service` must outlive the session.
  PsSession(PsService& service, std::function<void()> wake, std::optional<Error> refusal = {});
  ~PsSession();
  PsSession(const PsSession&) = delete;
  PsSession& operator=(const PsSession&) = delete;

  /// Where bytes that arrive now may be received straight into; the rest, and what comes when this is empty, goes to
  /// take().
  [[nodiscard]] std::span<std::byte> unfilled() const noexcept { return reader_.unfilled(); }
  void filled(std::size_t count) noexcept { reader_.filled(count); }
  void take(ByteView bytes);

  [[nodiscard]] const OutQueue& out() const noexcept { return out_; }
  /// Is what is in out() better sent with what comes next? The answer to a put that a get has followed: the client
  /// waits for the get, and need not wake up before, unless the put was refused.
  [[nodiscard]] bool may_hold_out() const noexcept {
    return get_ && get_->ready.empty() && !get_->has_sent && !has_error_ && !is_over_;
  }
  void sent(std::size_t count);

  /// When expired() is to be called, if ever.
  [[nodiscard]] std::optional<Clock::time_point> due() const;
  void expired(Clock::time_point now);

  /// Does this client owe bytes, of its hello or of a request?
  [[nodiscard]] bool is_awaited() const noexcept { return job_ == nullptr || !reader_.is_between_frames(); }
  /// To be closed once the output is sent.
  [[nodiscard]] bool is_over() const noexcept { return is_over_; }

  // For PsService, when what this session waits for is there.
  void message_arrived(std::uint32_t index);
  void register_written();

 private:
  /// A put, or a write to a register, whose body is arriving.
  struct Incoming {
    std::vector<MessageStore::Entry> entries;  // of a put: those that have been begun
    SharedBytes value;                         // of a register
    std::uint64_t reserved = 0;
    std::optional<Error> refusal;
  };
  struct Get {
    enum class State : std::uint8_t { kWaiting, kReady, kSent };
    std::vector<PsKey> keys;
    std::vector<State> states;
    std::deque<std::uint32_t> ready;
    std::size_t waiting = 0;
    Clock::time_point until;
    bool is_over = false;
    bool has_sent = false;  // a message
  };
  struct RegisterWait {
    std::string name;
    std::uint64_t version = 0;
    Clock::time_point until;
  };

  void take_frames(ByteView bytes);
  void begin();
  void begin_body(std::uint64_t memory);
  /// Receives the next message of a put; returns false if there is none.
  bool receive_next();
  void finish_body();
  void perform();
  void end_request();

  void handle(const PsHello& hello);
  void handle(const PsPing&);
  void handle(const PsPut& put);
  void handle(PsGet& get);
  void handle(const PsTryGet& get);
  void handle(const PsRetire& retire);
  void handle(const PsSweep& sweep);
  void handle(const PsContents&);
  void handle(const PsReadRegister& read);
  void handle(const PsWriteRegister& write);
  void handle(const PsExchangeRegister& exchange);
  void handle(PsWaitRegister& wait);
  void handle(const PsRemoveRegister& remove);

  void reply(const PsReply& reply, SharedBytes body = {}) { out_.push(encode_reply(reply), std::move(body)); }
  void reply(const Error& error);
  void reply_value(const RegisterStore::Value* value);

  void await(std::uint32_t index);
  /// Moves messages of the get that are ready to the output, as far as there is room, and ends it when it is through.
  void pump();
  void forget_get();
  void forget_register_wait();

  PsService& service_;
  const std::function<void()> wake_;
  const std::optional<Error> refusal_;
  FrameReader reader_;
  OutQueue out_;
  bool has_error_ = false;  // in out_
  PsJob* job_ = nullptr;
  PsRequest request_;
  Incoming incoming_;
  std::optional<Get> get_;
  std::optional<RegisterWait> register_wait_;
  bool is_over_ = false;
};

}  // namespace virga
