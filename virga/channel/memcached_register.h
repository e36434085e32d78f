#pragma once

#include <memory>
#include <string>

#include "virga/channel/memcached_client.h"
#include "virga/channel/register.h"

namespace virga {

/// Registers of a job in Memcached (docs/formats/channel-memcached.md). A version is the number that Memcached gives to
/// each write ("cas unique"), which grows from write to write of the whole server: each call is one command, and
/// compare_exchange() is Memcached's own. What the server throws out, or loses when it ends, was never written: a
/// register that must last belongs elsewhere. wait_newer() polls.
class MemcachedRegister final : public Register {
 public:
  MemcachedRegister(std::shared_ptr<MemcachedClient> client, std::string_view job);

  [[nodiscard]] std::optional<RegisterValue> read(std::string_view name, const Wait& wait) override;
  std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) override;
  [[nodiscard]] std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait& wait) override;
  [[nodiscard]] RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) override;
  void remove(std::string_view name, const Wait& wait) override;
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override;
  [[nodiscard]] const std::string& uri() const noexcept override { return client_->uri(); }

 private:
  [[nodiscard]] std::string key_of(std::string_view name) const;
  void check_size(std::string_view name, ByteView bytes) const;

  const std::shared_ptr<MemcachedClient> client_;
  const std::string job_;
};

}  // namespace virga
