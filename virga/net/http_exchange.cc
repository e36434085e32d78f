#include "virga/net/http_exchange.h"

#include <boost/asio/post.hpp>
#include <utility>

namespace virga {

HttpResponse plain_text(int status, const std::string& text) {
  return {.status = status, .headers = {{"Content-Type", "text/plain"}}, .body = text + "\n"};
}

void HttpExchange::answer(HttpResponse response) {
  Functions forgotten;  // what they hold is let go outside of the lock
  const std::scoped_lock lock(loop_->mutex);
  if (is_answered_ || is_gone_ || loop_->context == nullptr) return;
  boost::asio::post(*loop_->context, [self = shared_from_this(), response = std::move(response)]() mutable {
    if (self->deliver_) std::exchange(self->deliver_, nullptr)(std::move(response));
  });
  is_answered_ = true;
  forgotten.swap(on_gone_);
}

bool HttpExchange::gone() const noexcept {
  const std::scoped_lock lock(loop_->mutex);
  return is_gone_;
}

void HttpExchange::on_gone(std::function<void()> then) {
  const std::scoped_lock lock(loop_->mutex);
  if (is_answered_ || loop_->context == nullptr) return;
  if (is_gone_) {
    boost::asio::post(*loop_->context, std::move(then));
  } else {
    on_gone_.push_back(std::move(then));
  }
}

void HttpExchange::client_left() {
  Functions functions;
  {
    const std::scoped_lock lock(loop_->mutex);
    if (is_answered_ || is_gone_) return;
    is_gone_ = true;
    functions.swap(on_gone_);
  }
  for (const auto& then : functions) then();
}

void HttpExchange::detach() {
  deliver_ = nullptr;
  Functions forgotten;
  const std::scoped_lock lock(loop_->mutex);
  is_gone_ = true;
  forgotten.swap(on_gone_);
}

HttpReply::Sink::~Sink() {
  try {
    exchange_->answer(plain_text(500, "the request was dropped without an answer"));
  } catch (const std::exception&) {
    // No memory is left for the answer; the client's own deadline ends its wait.
  }
}

void HttpReply::send(HttpResponse response) const { sink_->exchange().answer(std::move(response)); }
bool HttpReply::gone() const noexcept { return sink_->exchange().gone(); }
void HttpReply::on_gone(std::function<void()> then) const { sink_->exchange().on_gone(std::move(then)); }

}  // namespace virga
