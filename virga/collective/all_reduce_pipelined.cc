#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/collective/all_reduce.h"
#include "virga/collective/outbox.h"

namespace virga {

/// One round of the pipelined scatter-reduce, after FuncPipe (Liu et al., "FuncPipe: A Pipelined Serverless Framework
/// for Fast and Cost-Efficient Training of Deep Learning Models", SIGMETRICS 2023), which uses up- and downlink at once
/// while contributions are handed out; here sums are handed out meanwhile, too. Range r p + i is piece i of member r.
///
/// The member's own thread receives all, as it comes, and sums a piece when all have sent theirs. Two more put: with
/// one, the line would lie idle for the latency of each put; with many, pieces would share the line, and all come
/// late. Sums go first, for others wait for them.
class AllReduce::Pipeline {
 public:
  Pipeline(AllReduce& all, std::uint64_t round, const Contribution& contribution, std::uint64_t decree,
           const Wait& wait)
      : all_(all),
        round_(round),
        contribution_(contribution),
        decree_(decree),
        wait_(wait),
        size_(all.group_.size),
        pieces_(all.options_.pieces),
        update_(static_cast<Phase>(all.options_.phase + 1)),
        on_stop_(wait.stop, [this] { over_.request_stop(); }) {
    const auto me = all_.group_.rank;
    all_.inputs_.resize(std::size_t{pieces_} * size_);
    all_.sums_.resize(std::size_t{pieces_} * size_);
    all_.storage_.resize(std::max(all_.storage_.size(), std::size_t{pieces_} * size_));
    all_.of_each_.resize(pieces_, std::vector<TableSum>(all_.layout_.size()));
    for (std::uint32_t piece = 0; piece < pieces_; ++piece) input(piece, me) = part(me, piece);
  }

  void run() {
    {
      const std::jthread first([this] { send(); });
      const std::jthread second([this] { send(); });
      try {
        receive();
      } catch (...) {
        fail(std::current_exception());
      }
    }
    all_.sent(messages_put_, bytes_put_);
    if (error_) std::rethrow_exception(error_);
    all_.lap(WorkPhase::kSend);
    all_.check_totals(all_.sums_[std::size_t{all_.group_.rank} * pieces_].scalars);
  }

 private:
  struct Task {
    bool sum;  // else contributions
    std::uint32_t piece;
  };

  [[nodiscard]] std::uint32_t range(std::uint32_t member, std::uint32_t piece) const noexcept {
    return member * pieces_ + piece;
  }
  [[nodiscard]] ContributionPart& input(std::uint32_t piece, std::uint32_t member) const {
    return all_.inputs_[std::size_t{piece} * size_ + member];
  }
  [[nodiscard]] ContributionPart part(std::uint32_t member, std::uint32_t piece) const {
    return part_of(contribution_, all_.layout_, all_.cuts_, range(member, piece), decree_);
  }

  // Receiving, by the member's own thread.

  void receive() {
    const auto me = all_.group_.rank;
    const auto& options = all_.options_;
    std::vector<MessageKey> keys;
    all_.missing_.clear();
    for (std::uint32_t r = 0; r < size_; ++r) {
      if (r == me) continue;
      all_.missing_.push_back(r);
      for (std::uint32_t piece = 0; piece < pieces_; ++piece) {
        keys.push_back(message_key(all_.group_, round_, options.phase, r, me, piece));
        keys.push_back(message_key(all_.group_, round_, update_, r, kEverybody, piece));
      }
    }
    crash_point("before_get");
    all_.channel_.get(keys, [this](const MessageKey& key, const SharedBytes& message) { take(key, message); },
                      {wait_.deadline, over_.get_token()});
    crash_point("after_get");
    all_.lap(WorkPhase::kWait);
  }

  void take(const MessageKey& key, const SharedBytes& message) {
    all_.lap(WorkPhase::kWait);
    const bool is_sum = key.phase == update_;
    const auto at = range(is_sum ? key.source : all_.group_.rank, key.part);
    all_.decode(key, message, is_sum ? MessageKind::kSum : MessageKind::kContribution, all_.cuts_, at,
                is_sum ? all_.sums_[at] : input(key.part, key.source));
    if (++from_[key.source] == 2 * pieces_) std::erase(all_.missing_, key.source);
    all_.lap(WorkPhase::kDecode);
    if (is_sum || ++of_piece_[key.part] < size_ - 1) return;
    const auto inputs = std::span(all_.inputs_).subspan(std::size_t{key.part} * size_, size_);
    all_.sum_inputs(inputs, all_.of_each_[key.part], all_.sums_[at]);
    const std::lock_guard lock(mutex_);
    summed_.push_back(key.part);
    changed_.notify_one();
  }

  // Sending, by two threads.

  void send() {
    try {
      while (const auto task = next()) put(*task);
    } catch (...) {
      fail(std::current_exception());
    }
  }

  /// None when all has been taken up, or the round has failed.
  [[nodiscard]] std::optional<Task> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock,
                  [this] { return error_ || !summed_.empty() || next_piece_ < pieces_ || sums_begun_ == pieces_; });
    if (error_) return std::nullopt;
    if (!summed_.empty()) {
      const auto piece = summed_.front();
      summed_.pop_front();
      if (++sums_begun_ == pieces_) changed_.notify_all();
      return Task{true, piece};
    }
    if (next_piece_ < pieces_) return Task{false, next_piece_++};
    return std::nullopt;
  }

  void put(const Task& task) {
    const auto me = all_.group_.rank;
    Outbox outbox(all_.group_);
    const auto add = [&](const ContributionPart& part, std::uint32_t to, std::size_t storage) {
      outbox.add(round_, task.sum ? update_ : all_.options_.phase, to,
                 task.sum ? MessageKind::kSum : MessageKind::kContribution, part.scalars.totals.weight,
                 encode_part(part, all_.layout_, all_.storage_[storage]), task.piece);
    };
    std::vector<ContributionPart> parts;
    parts.reserve(size_);  // they are borrowed
    if (task.sum) add(all_.sums_[range(me, task.piece)], kEverybody, range(me, task.piece));
    for (std::uint32_t i = 1; i < size_ && !task.sum; ++i) {
      const auto to = (me + i) % size_;  // not all to the same one at once
      add(parts.emplace_back(part(to, task.piece)), to, range(to, task.piece));
    }
    const auto messages = outbox.size();
    crash_point("before_put");
    const auto bytes = outbox.put(all_.channel_, {wait_.deadline, over_.get_token()});
    crash_point("after_put");
    const std::lock_guard lock(mutex_);
    messages_put_ += messages;
    bytes_put_ += bytes;
  }

  /// The first error stays; what others find out then is that the round is over.
  void fail(std::exception_ptr error) {
    {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::move(error);
      changed_.notify_all();
    }
    over_.request_stop();
  }

  AllReduce& all_;
  const std::uint64_t round_;
  const Contribution& contribution_;
  const std::uint64_t decree_;
  const Wait& wait_;
  const std::uint32_t size_;
  const std::uint32_t pieces_;
  const Phase update_;

  std::vector<std::uint32_t> from_ = std::vector<std::uint32_t>(size_);        // messages that have come, by source
  std::vector<std::uint32_t> of_piece_ = std::vector<std::uint32_t>(pieces_);  // contributions that have come

  std::mutex mutex_;  // guards the next seven
  std::condition_variable changed_;
  std::deque<std::uint32_t> summed_;  // pieces whose sums are to be put
  std::uint32_t next_piece_ = 0;      // of the contributions to the others
  std::uint32_t sums_begun_ = 0;
  std::exception_ptr error_;
  std::uint64_t messages_put_ = 0, bytes_put_ = 0;

  std::stop_source over_;
  std::stop_callback<std::function<void()>> on_stop_;
};

void AllReduce::pipelined(std::uint64_t round, const Contribution& contribution, std::uint64_t decree,
                          const Wait& wait) {
  Pipeline(*this, round, contribution, decree, wait).run();
}

}  // namespace virga
