#include "virga/data/loader.h"

#include <utility>

#include "virga/base/threads.h"

namespace virga {
namespace {

/// What a mini-batch keeps in memory. A group counts whole in each mini-batch that has rows of it.
std::uint64_t memory_bytes(const MiniBatch& batch) {
  std::uint64_t values = batch.keys.size();
  std::uint64_t groups = 0;
  for (const auto& slice : batch.slices) {
    values += slice.used.size() + slice.positions.size();
    groups += memory_bytes(*slice.group);
  }
  return values * sizeof(std::uint32_t) + groups;
}

}  // namespace

BatchSource::BatchSource(GroupCache& cache, const Schedule& schedule, const Options& options)
    : cache_(cache), schedule_(schedule), options_(options), assembler_(cache.manifest().encoding.features) {
  if (options_.prefetch > 0) thread_ = std::jthread([this] { run(); });
}

BatchSource::~BatchSource() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  room_.notify_all();
}

void BatchSource::prepare_from(std::uint64_t round) {
  if (options_.prefetch == 0) return;
  const std::lock_guard lock(mutex_);
  restart(round);
}

void BatchSource::prepare_first(std::uint64_t round) {
  if (options_.prefetch > 0) return;
  first_ = prepare(round);
  first_round_ = round;
}

const MiniBatch& BatchSource::batch(std::uint64_t round) {
  if (options_.prefetch == 0) {
    auto first = std::exchange(first_, std::nullopt);
    if (!first || first_round_ != round) return current_ = make(round);
    if (first->error) std::rethrow_exception(first->error);
    return current_ = std::move(first->batch);
  }
  std::unique_lock lock(mutex_);
  if (!started_ || round != expected_) restart(round);
  filled_.wait(lock, [&] { return !ready_.empty(); });
  auto prepared = std::move(ready_.front());
  ready_.pop_front();
  ready_bytes_ -= prepared.bytes;
  if (prepared.error) {
    started_ = false;
    std::rethrow_exception(prepared.error);
  }
  ++expected_;
  const bool failed = !ready_.empty() && ready_.back().error;  // nothing is prepared beyond a failure
  if (!filling_ && !failed && has_room(2)) {
    filling_ = true;
    room_.notify_one();
  }
  return current_ = std::move(prepared.batch);
}

/// Drops what was prepared and begins anew at `round`. Needs the mutex.
void BatchSource::restart(std::uint64_t round) {
  ready_.clear();
  ready_bytes_ = 0;
  next_ = expected_ = round;
  ++generation_;
  started_ = filling_ = true;
  room_.notify_one();
}

/// Is less than one `share`-th of what may be ready taken? Needs the mutex.
bool BatchSource::has_room(std::size_t share) const {
  return ready_.empty() ||
         (ready_.size() < (options_.prefetch + share - 1) / share && ready_bytes_ < options_.prefetch_bytes / share);
}

/// The thread that prepares mini-batches.
void BatchSource::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    room_.wait(lock, [&] { return stop_ || filling_; });
    if (stop_) return;
    const auto generation = generation_;
    const auto round = next_++;
    lock.unlock();
    auto prepared = prepare(round);
    lock.lock();
    if (generation != generation_) continue;
    ready_bytes_ += prepared.bytes;
    ready_.push_back(std::move(prepared));
    filling_ = has_room(1) && !ready_.back().error;
    filled_.notify_one();
  }
}

BatchSource::Prepared BatchSource::prepare(std::uint64_t round) noexcept {
  Prepared prepared;
  try {
    prepared.batch = make(round);
    prepared.bytes = memory_bytes(prepared.batch);
  } catch (...) {
    prepared.error = std::current_exception();
  }
  return prepared;
}

MiniBatch BatchSource::make(std::uint64_t round) {
  const auto epoch = schedule_.epoch_of(round);
  if (!order_ || order_->epoch() != epoch) order_ = schedule_.order(epoch);
  std::vector<RowRange> ranges;
  for (const auto& rows : schedule_.rows_of(*order_, schedule_.step_of(round), options_.rank, options_.world_size)) {
    ranges.push_back({.group = cache_.get({options_.split, rows.block, rows.group}),
                      .first_row = rows.first_row,
                      .last_row = rows.last_row});
  }
  return assembler_.assemble(ranges);
}

void for_each_group(GroupCache& cache, SplitName split, unsigned threads,
                    const std::function<void(std::size_t, const RowGroupPtr&)>& fn) {
  const auto runs = cache.runs(split);
  std::vector<std::size_t> first_index = {0};
  for (const auto& run : runs) first_index.push_back(first_index.back() + run.last - run.first);
  parallel_for(threads, runs.size(), [&](std::size_t i) {
    for (auto group = runs[i].first; group < runs[i].last; ++group) {
      fn(first_index[i] + group - runs[i].first, cache.get({split, runs[i].block, group}));
    }
  });
}

}  // namespace virga
