#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "virga/channel/register.h"
#include "virga/channel/s3_bin.h"
#include "virga/storage/s3_client.h"

namespace virga {

/// Registers of a job in a bucket (docs/s3.md), by writing and reading back: a bucket has no operation that depends on
/// what is there (conditional PUT is not everywhere, and not everywhere atomic).
///
/// Each version of a value is an object of its own; the newest is that of the largest version. write() lists, and puts
/// the next. compare_exchange() lets those who read one version agree on who comes next: Disk Paxos (Gafni and Lamport,
/// DISC 2000) with the bucket as the disk. So of all exchanges from one version exactly one succeeds, whoever is killed
/// at any moment; but only where the bucket is strongly consistent, lists included, as S3 is. What is weaker than
/// elsewhere: exchanges that meet give way to each other, with growing pauses, so that none may succeed for a while;
/// and an exchange that meets a write() of another may replace it although it has not seen it.
///
/// Cost: read() is a LIST and a GET; write() a LIST and a PUT; compare_exchange() 3 PUTs and 6 LISTs if it meets
/// nobody. wait_newer() lists again and again, with pauses up to 200 ms.
class S3Register final : public Register {
 public:
  S3Register(std::shared_ptr<S3Client> client, std::string_view job);

  [[nodiscard]] std::optional<RegisterValue> read(std::string_view name, const Wait& wait) override;
  std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) override;
  [[nodiscard]] std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait& wait) override;
  [[nodiscard]] RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) override;
  void remove(std::string_view name, const Wait& wait) override;
  [[nodiscard]] std::uint64_t writes_between(std::uint64_t older, std::uint64_t newer) const noexcept override;
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override { return std::size_t{64} << 20; }
  [[nodiscard]] PaidRequests paid() const override { return paid_of(*client_); }
  [[nodiscard]] const std::string& uri() const noexcept override { return client_->place().uri; }

 private:
  /// What a proposer says.
  struct Block {
    std::uint64_t ballot = 0;    ///< the largest it has entered
    std::uint64_t accepted = 0;  ///< the ballot in which it accepted what follows; 0: none
    std::uint64_t version = 0;
    Bytes value;
  };
  struct Seen {
    std::uint64_t largest = 0;      ///< ballot of others
    std::optional<Block> accepted;  ///< of all, that of the largest ballot
  };
  class Agreement;

  /// Of all versions that are there, sorted.
  [[nodiscard]] std::vector<std::uint64_t> versions(std::string_view name, const Wait& wait);
  [[nodiscard]] std::uint64_t newest(std::string_view name, const Wait& wait);
  void publish(std::string_view name, std::uint64_t version, ByteView bytes, const Wait& wait);
  /// Removes those of the `known` versions that are before `kept`, and what was said about who follows them.
  void clear_up(std::string_view name, std::uint64_t kept, std::span<const std::uint64_t> known, const Wait& wait);
  void check(std::string_view name, ByteView bytes) const;

  [[nodiscard]] std::string folder_of(std::string_view name) const;
  [[nodiscard]] std::string ballots_of(std::string_view name) const;

  const std::shared_ptr<S3Client> client_;
  const std::string job_;
};

}  // namespace virga
