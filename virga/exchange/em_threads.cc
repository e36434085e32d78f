#include "virga/exchange/em_threads.h"

#include <utility>

#include "virga/base/error.h"

namespace virga {
namespace {

/// Others may take their time with their rows: whoever fails ends the wait by abort().
constexpr auto kPatience = std::chrono::hours(24);

}  // namespace

/// An exchange whose waits end with the error of whoever failed.
class EmThreads::Rank final : public Exchange {
 public:
  Rank(EmThreads& shared, EmExchange& exchange) : shared_(shared), exchange_(exchange) {}

  const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override {
    return exchange_.read(round, keys);
  }
  void write(Round round, const Contribution& contribution) override {
    try {
      exchange_.write(round, contribution);
    } catch (const Error&) {
      shared_.throw_if_aborted();
      shared_.abort(std::current_exception());
      throw;
    }
  }

 private:
  EmThreads& shared_;
  EmExchange& exchange_;
};

EmThreads::EmThreads(unsigned ranks, const Tables& parameters, const EmOptions& em, std::uint64_t rounds_per_epoch)
    : layout_(parameters.layout) {
  for (unsigned r = 0; r < ranks; ++r) {
    ReplicaExchange::Options options;
    options.group = {.view = 1, .id = 0, .rank = r, .size = ranks, .generation = 0};
    options.all_reduce.pattern = default_pattern(ranks);
    options.patience = kPatience;
    options.stop = stop_.get_token();
    exchanges_.push_back(std::make_unique<EmExchange>(channel_, options, parameters, em, rounds_per_epoch,
                                                      cut_tables(em.statistics, ranks)));
    ranks_.push_back(std::make_unique<Rank>(*this, *exchanges_.back()));
  }
}

EmThreads::~EmThreads() = default;

Exchange& EmThreads::rank(unsigned rank) { return *ranks_[rank]; }

void EmThreads::abort(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  stop_.request_stop();
}

void EmThreads::throw_if_aborted() {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

const RoundTotals& EmThreads::totals() const noexcept {
  static constexpr RoundTotals kNothing;
  return exchanges_[0]->synchronised() ? exchanges_[0]->totals() : kNothing;
}

void EmThreads::copy_parameters(Round round, Tables& out) {
  check(round == exchanges_[0]->position().round, "parameters are those before the next round");
  if (out.layout != layout_) out = Tables(layout_);
  exchanges_[0]->copy_parameters(out);
}

}  // namespace virga
