#include "virga/policy/budget.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {

using std::chrono::milliseconds;

namespace {

Usd times(Usd usd, std::uint64_t count) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(usd.picodollars(), count, &product)) return Usd::most();
  return Usd::picodollars(product);
}

double seconds_of(milliseconds time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

Budget::Budget(Options options, PriceTable table) : options_(options), table_(std::move(table)), paid_(options.paid) {
  if (options_.paid + options_.kept_back > options_.limit) {
    throw Error(ErrorKind::kBudgetExhausted,
                fmt::format("a budget of {} is too small: {} were spent before, and {} are kept for the end",
                            format_usd(options_.limit), format_usd(options_.paid), format_usd(options_.kept_back)),
                "give a larger budget");
  }
}

Usd Budget::services_until(double seconds) const {
  Usd sum;
  for (const auto& [service, start] : services_) {
    // It has begun, if only just now: its smallest time is due.
    sum += service_time_price(service_prices(table_, service), std::max(seconds - start, 1e-9));
  }
  return sum;
}

Usd Budget::committed(const Horizon& horizon, Usd more, Usd more_of_the_end) const {
  auto of_the_end = paid_of_the_end_ + more_of_the_end;
  auto sum = paid_ + more;
  for (const auto& [ticket, reservation] : reservations_) {
    (reservation.of_the_end ? of_the_end : sum) += reservation.usd;
  }
  const auto end = std::max(horizon.usual + options_.end_seconds, horizon.of_the_end);
  return sum + std::max(options_.kept_back, of_the_end) + services_until(end + options_.closing_seconds);
}

Budget::Horizon Budget::horizons(double now_seconds) const noexcept {
  Horizon horizon{now_seconds, now_seconds};
  for (const auto& [ticket, reservation] : reservations_) {
    auto& end = reservation.of_the_end ? horizon.of_the_end : horizon.usual;
    end = std::max(end, reservation.end_seconds);
  }
  return horizon;
}

double Budget::horizon(double now_seconds) const noexcept {
  const auto horizon = horizons(now_seconds);
  return std::max(horizon.usual, horizon.of_the_end);
}

void Budget::start_service(const std::string& service, double now_seconds) {
  static_cast<void>(service_prices(table_, service));
  check(!services_.contains(service), "a service is started once");
  services_[service] = now_seconds;
  const auto need = committed(horizons(now_seconds), Usd(), Usd());
  if (need <= options_.limit) return;
  services_.erase(service);
  throw Error(ErrorKind::kBudgetExhausted,
              fmt::format("a budget of {} is too small for the service '{}': with it, at least {} will be spent",
                          format_usd(options_.limit), service, format_usd(need)),
              "give a larger budget");
}

void Budget::stop_service(const std::string& service, double now_seconds) {
  const auto found = services_.find(service);
  check(found != services_.end(), "a service that runs is stopped");
  paid_ += service_time_price(service_prices(table_, service), std::max(now_seconds - found->second, 1e-9));
  services_.erase(found);
}

Usd Budget::cost_of_one(const Wish& wish, milliseconds timeout) const {
  const auto attempt = invocation_price(table_.functions, wish.memory_bytes, billed_time(table_.functions, timeout));
  return times(attempt, wish.attempts) + wish.requests;
}

bool Budget::fits(const Wish& wish, milliseconds timeout, double now_seconds) const {
  const auto more = times(cost_of_one(wish, timeout), wish.count);
  auto horizon = horizons(now_seconds);
  auto& end = wish.of_the_end ? horizon.of_the_end : horizon.usual;
  end = std::max(end, now_seconds + seconds_of(timeout) * wish.attempts);
  return committed(horizon, wish.of_the_end ? Usd() : more, wish.of_the_end ? more : Usd()) <= options_.limit;
}

Budget::Grant Budget::reserve(const Wish& wish, double now_seconds) {
  check(wish.count > 0 && wish.attempts > 0 && wish.timeout.count() > 0, "what is wished for is something");
  Grant grant;
  if (!fits(wish, wish.timeout, now_seconds)) {
    // Cost grows with the timeout: the longest that fits lies between one that does and one that does not.
    auto low = milliseconds(0);
    auto high = wish.timeout;
    while (high - low > milliseconds(1)) {
      const auto middle = low + (high - low) / 2;
      (fits(wish, middle, now_seconds) ? low : high) = middle;
    }
    grant.fits = low;
    return grant;
  }
  const Reservation reservation{.usd = cost_of_one(wish, wish.timeout),
                                .end_seconds = now_seconds + seconds_of(wish.timeout) * wish.attempts,
                                .of_the_end = wish.of_the_end};
  for (std::uint32_t i = 0; i < wish.count; ++i) {
    grant.tickets.push_back(next_);
    reservations_[next_++] = reservation;
  }
  return grant;
}

void Budget::settle(Ticket ticket, Usd paid) {
  const auto found = reservations_.find(ticket);
  check(found != reservations_.end(), "what is settled was reserved");
  (found->second.of_the_end ? paid_of_the_end_ : paid_) += paid;
  reservations_.erase(found);
}

Usd Budget::spent(double now_seconds) const { return paid_ + paid_of_the_end_ + services_until(now_seconds); }

Usd Budget::remaining(double now_seconds) const {
  return std::max(Usd(), options_.limit - committed(horizons(now_seconds), Usd(), Usd()));
}

}  // namespace virga
