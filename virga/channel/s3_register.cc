#include "virga/channel/s3_register.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/system_random.h"
#include "virga/channel/pause.h"

namespace virga {
namespace {

// A version is a count and, behind it, random bits: two who write at the same time write two versions.
constexpr unsigned kRandomBits = 20;
constexpr unsigned kProposerBits = 32;
constexpr std::size_t kVersionDigits = 16;
constexpr std::size_t kBlockHeadBytes = 24;
constexpr std::uint64_t kKeptVersions = 8;
constexpr Pace kS3RegisterPace{.first = std::chrono::milliseconds(5), .longest = std::chrono::milliseconds(200)};

std::uint64_t random_bits(unsigned count) {
  std::uint64_t bits = 0;
  fill_with_system_random(std::as_writable_bytes(std::span(&bits, 1)));
  return bits >> (64 - count);
}

std::uint64_t version_after(std::uint64_t version) {
  return ((version >> kRandomBits) + 1) << kRandomBits | random_bits(kRandomBits);
}

std::string version_text(std::uint64_t version) { return fmt::format("{:016x}", version); }

std::optional<std::uint64_t> parse_version(std::string_view text) {
  std::uint64_t version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version, 16);
  if (text.size() != kVersionDigits || error != std::errc() || end != text.data() + text.size()) return {};
  return version;
}

}  // namespace

S3Register::S3Register(std::shared_ptr<S3Client> client, std::string_view job)
    : client_(std::move(client)), job_(job) {}

std::string S3Register::folder_of(std::string_view name) const { return fmt::format("{}/r/{}/", job_, name); }
std::string S3Register::ballots_of(std::string_view name) const { return fmt::format("{}/x/{}/", job_, name); }

void S3Register::check(std::string_view name, ByteView bytes) const {
  check_register_name(*this, name);
  if (bytes.size() <= max_value_bytes()) return;
  throw Error(ErrorKind::kTooLarge, fmt::format("{}: {} bytes for register \"{}\", which holds {}", uri(), bytes.size(),
                                                name, max_value_bytes()));
}

std::vector<std::uint64_t> S3Register::versions(std::string_view name, const Wait& wait) {
  const auto folder = folder_of(name);
  std::vector<std::uint64_t> found;
  for (const auto& object : client_->list(folder, "", wait)) {
    // There may be names that begin with this one and a '/'.
    if (const auto version = parse_version(std::string_view(object.key).substr(folder.size())))
      found.push_back(*version);
  }
  return found;  // sorted, as keys are
}

std::uint64_t S3Register::newest(std::string_view name, const Wait& wait) {
  const auto all = versions(name, wait);
  return all.empty() ? 0 : all.back();
}

std::optional<RegisterValue> S3Register::read(std::string_view name, const Wait& wait) {
  check(name, {});
  for (;;) {
    const auto version = newest(name, wait);
    if (version == 0) return std::nullopt;
    auto bytes = client_->get(folder_of(name) + version_text(version), max_value_bytes(), wait);
    if (bytes) return RegisterValue{.version = version, .bytes = SharedBytes::of(*std::move(bytes))};
    // It was cleared away, so there are newer ones; or the register was removed.
    throw_if_stopped(uri(), wait);
    if (wait.deadline.passed()) {
      throw Error(ErrorKind::kDeadlineExceeded,
                  fmt::format("{}: register \"{}\" changes faster than it can be read", uri(), name));
    }
  }
}

void S3Register::publish(std::string_view name, std::uint64_t version, ByteView bytes, const Wait& wait) {
  const S3Client::Put object{.key = folder_of(name) + version_text(version), .parts = {bytes}};
  client_->put({&object, 1}, wait);
}

void S3Register::clear_up(std::string_view name, std::uint64_t kept, std::span<const std::uint64_t> known,
                          const Wait& wait) {
  // The last ones stay, for those who have not seen yet how an agreement ended.
  const auto count = kept >> kRandomBits;
  const auto first = count - std::min(count, kKeptVersions);
  std::vector<std::string> old;
  for (const auto version : known) {
    if (version >> kRandomBits < first) old.push_back(folder_of(name) + version_text(version));
  }
  const auto ballots = ballots_of(name);
  for (const auto& object : client_->list(ballots, "", wait)) {
    const auto rest = std::string_view(object.key).substr(ballots.size());
    const auto version = parse_version(rest.substr(0, rest.find('/')));
    if (version && *version >> kRandomBits < first) old.push_back(object.key);
  }
  client_->remove(old, wait);
}

std::uint64_t S3Register::write(std::string_view name, ByteView bytes, const Wait& wait) {
  check(name, bytes);
  const auto before = versions(name, wait);
  const auto last = before.empty() ? 0 : before.back();
  const auto version = version_after(last);
  publish(name, version, bytes, wait);
  std::vector<std::string> old;  // the last one stays, for those who are about to read it
  for (const auto one : before) {
    if (one < last) old.push_back(folder_of(name) + version_text(one));
  }
  client_->remove(old, wait);
  return version;
}

/// Who read version `expected` agree on the version that follows. One object for one proposal. What a proposer says is
/// said in objects that never change, so that a PUT which arrives late takes nothing back.
class S3Register::Agreement {
 public:
  Agreement(S3Register& registers, std::string_view name, std::uint64_t expected, const Wait& wait)
      : registers_(registers),
        name_(name),
        expected_(expected),
        wait_(wait),
        folder_(registers.ballots_of(name) + version_text(expected) + "/"),
        me_(random_bits(kProposerBits)) {}

  /// What all agree on: `mine`, or what somebody else proposed. Nothing if another version is there already.
  std::optional<Block> agree(const Block& mine) {
    std::uint64_t turn = 1;
    for (unsigned losses = 0;; ++losses) {
      const auto began = Deadline::Clock::now();
      // Enter a ballot, unless somebody is in a larger one; propose what may have been agreed on before.
      Block block{.ballot = turn << kProposerBits | me_};
      auto seen = say_and_look(block);
      if (seen.largest < block.ballot) {
        // If the agreement had been reached and cleared away before, there would be another version by now.
        if (registers_.newest(name_, wait_) != expected_) return std::nullopt;
        const auto& proposed = seen.accepted ? *seen.accepted : mine;
        block.accepted = block.ballot;
        block.version = proposed.version;
        block.value = proposed.value;
        // Accept it; if nobody has entered a larger one by then, all later ones will find it.
        seen = say_and_look(block);
        if (seen.largest < block.ballot) return block;
      }
      turn = (seen.largest >> kProposerBits) + 1;
      give_way(losses, Deadline::Clock::now() - began);
      if (registers_.newest(name_, wait_) != expected_) return std::nullopt;
    }
  }

 private:
  /// For another time at each loss, a multiple of what an attempt takes: so that of those who meet one is alone for
  /// long enough.
  void give_way(unsigned losses, std::chrono::nanoseconds took) const {
    const double most = 2.0 * static_cast<double>(1U << std::min(losses, 4U));
    pause(std::chrono::duration_cast<std::chrono::nanoseconds>(took *
                                                               (most * static_cast<double>(random_bits(32)) * 0x1p-32)),
          wait_);
    throw_if_stopped(registers_.uri(), wait_);
    if (!wait_.deadline.passed()) return;
    throw Error(ErrorKind::kDeadlineExceeded,
                fmt::format("{}: others write to register \"{}\" all the time", registers_.uri(), name_),
                "allow more time");
  }

  /// Says what I am about to do, then looks at what all have said, I in earlier ballots among them.
  Seen say_and_look(const Block& mine) {
    const auto key = folder_ + fmt::format("{:08x}-{:x}", me_, ++said_);
    const std::array<std::uint64_t, 3> head = {mine.ballot, mine.accepted, mine.version};
    const S3Client::Put object{.key = key, .parts = {std::as_bytes(std::span(head)), mine.value}};
    registers_.client_->put({&object, 1}, wait_);
    std::vector<std::string> keys;
    for (const auto& one : registers_.client_->list(folder_, "", wait_)) {
      if (one.key != key) keys.push_back(one.key);
    }
    Seen seen;
    const auto look = [&](std::size_t, const Bytes& bytes) { take(bytes, seen); };
    registers_.client_->get_all(keys, registers_.max_value_bytes() + kBlockHeadBytes, look, wait_);
    return seen;
  }

  void take(const Bytes& bytes, Seen& seen) const {
    ByteReader reader(bytes, folder_);
    Block block;
    block.ballot = reader.get<std::uint64_t>();
    block.accepted = reader.get<std::uint64_t>();
    block.version = reader.get<std::uint64_t>();
    const bool is_mine = (block.ballot & ((std::uint64_t{1} << kProposerBits) - 1)) == me_;
    if (!is_mine) seen.largest = std::max(seen.largest, block.ballot);
    if (block.accepted == 0 || (seen.accepted && seen.accepted->accepted >= block.accepted)) return;
    const auto value = reader.take(reader.remaining());
    block.value.assign(value.begin(), value.end());
    seen.accepted = std::move(block);
  }

  S3Register& registers_;
  const std::string name_;
  const std::uint64_t expected_;
  const Wait& wait_;
  const std::string folder_;
  const std::uint64_t me_;
  std::uint64_t said_ = 0;
};

std::optional<std::uint64_t> S3Register::compare_exchange(std::string_view name, std::uint64_t expected, ByteView bytes,
                                                          const Wait& wait) {
  check(name, bytes);
  if (newest(name, wait) != expected) return std::nullopt;
  const Block mine{.version = version_after(expected), .value = {bytes.begin(), bytes.end()}};
  const auto agreed = Agreement(*this, name, expected, wait).agree(mine);
  const auto known = versions(name, wait);
  const bool is_open = (known.empty() ? 0 : known.back()) == expected;
  if (agreed && is_open) {
    // Whoever finds out publishes it, also for one that was killed.
    publish(name, agreed->version, agreed->value, wait);
    clear_up(name, expected, known, wait);
    return agreed->version == mine.version ? std::optional(mine.version) : std::nullopt;
  }
  // Somebody has published what was agreed on: perhaps mine, which they saw in a ballot that I had lost.
  if (std::ranges::binary_search(known, mine.version)) return mine.version;
  const auto is_next = [&](std::uint64_t version) { return version >> kRandomBits == mine.version >> kRandomBits; };
  if ((agreed && agreed->version != mine.version) || std::ranges::any_of(known, is_next)) return std::nullopt;
  throw Error(ErrorKind::kUnavailable,
              fmt::format("{}: others have written register \"{}\" meanwhile, so often that whether this exchange took "
                          "place before cannot be told",
                          uri(), name),
              "read it again");
}

RegisterValue S3Register::wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) {
  check(name, {});
  Polling polling(wait, kS3RegisterPace);
  for (;;) {
    try {
      auto value = newest(name, wait) > version ? read(name, wait) : std::nullopt;
      if (value && value->version > version) return *std::move(value);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDeadlineExceeded) throw;
      throw_not_newer(*this, name, version);
    }
    if (polling.pause()) continue;
    throw_if_stopped(uri(), wait);
    throw_not_newer(*this, name, version);
  }
}

std::uint64_t S3Register::writes_between(std::uint64_t older, std::uint64_t newer) const noexcept {
  return (newer >> kRandomBits) - (older >> kRandomBits);
}

void S3Register::remove(std::string_view name, const Wait& wait) {
  check(name, {});
  std::vector<std::string> all;
  for (const auto version : versions(name, wait)) all.push_back(folder_of(name) + version_text(version));
  const auto ballots = ballots_of(name);
  for (const auto& object : client_->list(ballots, "", wait)) {
    const auto rest = std::string_view(object.key).substr(ballots.size());
    if (parse_version(rest.substr(0, rest.find('/')))) all.push_back(object.key);
  }
  client_->remove(all, wait);
}

}  // namespace virga
