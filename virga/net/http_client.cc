#include "virga/net/http_client.h"

#include <boost/asio/post.hpp>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "virga/net/http_call.h"

namespace virga {

/// The calls that are under way and the connections that wait for the next; on the context's thread.
class HttpClient::Impl : public HttpCallOwner, public std::enable_shared_from_this<Impl> {
 public:
  using HttpCallOwner::HttpCallOwner;

  /// Any thread.
  void send(std::shared_ptr<Pending> call) {
    const std::scoped_lock lock(mutex_);
    inbox_.push_back(std::move(call));
    if (inbox_.size() == 1) boost::asio::post(context, [self = shared_from_this()] { self->take_inbox(); });
  }

  void stop() {
    is_stopped_ = true;
    take_inbox();
    for (const auto& [_, call] : std::exchange(calls_, {})) {
      call->fail(Error(ErrorKind::kUnavailable, "the client has ended"));
    }
    for (const auto& link : std::exchange(idle_, {})) link->close();
    resolver.cancel();
  }

  std::shared_ptr<HttpLink> take_idle() override {
    while (!idle_.empty()) {
      auto link = std::move(idle_.back());
      idle_.pop_back();
      if (link->is_quiet()) return link;
      link->close();
    }
    return nullptr;
  }

  void keep(std::shared_ptr<HttpLink> link) override {
    if (is_stopped_ || idle_.size() >= options.most_idle) return link->close();
    link->await_nothing([weak = weak_from_this(), raw = link.get()] {
      if (const auto self = weak.lock()) self->drop(raw);
    });
    idle_.push_back(std::move(link));
  }

  void over(Pending& call) override { calls_.erase(&call); }

 private:
  void take_inbox() {
    std::vector<std::shared_ptr<Pending>> taken;
    {
      const std::scoped_lock lock(mutex_);
      taken.swap(inbox_);
    }
    for (const auto& call : taken) {
      if (call->is_over()) continue;  // cancelled before its turn
      if (is_stopped_) {
        call->fail(Error(ErrorKind::kUnavailable, "the client has ended"));
      } else {
        calls_.emplace(call.get(), call);
        call->start();
      }
    }
  }

  /// The server has closed a connection that waited.
  void drop(HttpLink* link) {
    std::erase_if(idle_, [&](const auto& one) {
      if (one.get() != link) return false;
      one->close();
      return true;
    });
  }

  std::mutex mutex_;
  std::vector<std::shared_ptr<Pending>> inbox_;  // guarded by `mutex_`
  std::unordered_map<Pending*, std::shared_ptr<Pending>> calls_;
  std::vector<std::shared_ptr<HttpLink>> idle_;
  bool is_stopped_ = false;
};

HttpClient::HttpClient(boost::asio::io_context& context, Address server, Options options)
    : impl_(std::make_shared<Impl>(context, std::move(server), options)) {}

HttpClient::~HttpClient() { impl_->stop(); }

HttpClient::Ticket HttpClient::send(HttpRequest request, Deadline deadline, bool may_repeat, Done done) {
  return send(std::move(request), Extras(), deadline, may_repeat, std::move(done));
}

HttpClient::Ticket HttpClient::send(HttpRequest request, Extras extras, Deadline deadline, bool may_repeat, Done done) {
  auto call =
      std::make_shared<Pending>(impl_, std::move(request), std::move(extras), deadline, may_repeat, std::move(done));
  impl_->send(call);
  return call;
}

void HttpClient::cancel(const Ticket& ticket) {
  if (const auto call = ticket.lock()) call->fail(Error(ErrorKind::kInterrupted, "the request is no longer wanted"));
}

HttpResponse http_request(const Address& server, const HttpRequest& request, Deadline deadline,
                          const HttpLimits& limits) {
  boost::asio::io_context context(1);
  HttpClient client(context, server,
                    {.limits = limits,
                     .most_idle = 0,
                     .connect_time = std::chrono::ceil<std::chrono::milliseconds>(deadline.remaining())});
  std::optional<HttpClient::Outcome> outcome;
  client.send(request, deadline, /*may_repeat=*/false, [&](HttpClient::Outcome got) { outcome = std::move(got); });
  while (!outcome) context.run_one();
  if (outcome->error) throw Error(*outcome->error);
  return std::move(*outcome->response);
}

}  // namespace virga
