#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "virga/cost/service_use.h"
#include "virga/cost/usd.h"

namespace virga {

/// What a platform asks for functions. A megabyte of a limit is 10^6 bytes, as in `functions.memory`, and stands for
/// one megabyte of the platform's own setting (2^20 bytes), so what fits here fits there. A gigabyte of a price is
/// 1,024 MB.
struct FunctionPrices {
  double usd_per_gb_second = 0;
  double usd_per_request = 0;
  std::chrono::milliseconds granularity{1};  ///< time is billed in whole ones, rounded up
  bool bills_init = true;                    ///< the start of a cold process is billed
  std::uint64_t mb_per_vcpu = 1769;          ///< with which a function has one processor; its share is in proportion
  std::uint64_t smallest_mb = 128;
  std::uint64_t largest_mb = 10240;
  bool operator==(const FunctionPrices&) const = default;
};

/// What a service asks for.
struct ServicePrices {
  double usd_per_hour = 0;           ///< while it is there, by the second
  std::chrono::seconds smallest{0};  ///< billed even if it was there for less
  double usd_per_write = 0;
  double usd_per_read = 0;
  double usd_per_gb_transferred = 0;  ///< of 10^9 bytes
  bool operator==(const ServicePrices&) const = default;
};

/// A type of virtual machine.
struct Instance {
  ServicePrices rent;  ///< by the hour and the smallest time alone
  std::uint64_t vcpus = 1;
  std::uint64_t memory_mb = 0;       ///< of 2^20 bytes
  double network_mb_per_second = 0;  ///< of 10^6 bytes, between two of them, in each direction
  std::chrono::microseconds network_latency{0};
  bool operator==(const Instance&) const = default;
};

/// The virtual machines that a platform rents.
struct Instances {
  std::string name;    ///< of the platform, for people: "Amazon EC2"
  std::string source;  ///< where these figures come from, for people
  std::map<std::string, Instance> types;
  bool operator==(const Instances&) const = default;
};

/// How long it takes until so many workers run, from the moment when they are asked for: measured points.
struct StartupProfile {
  std::string name = "no figures";  ///< "aws-2021"
  std::string source = "the price table says nothing of it";
  std::map<std::uint32_t, double> functions, machines;  ///< workers -> seconds
  bool operator==(const StartupProfile&) const = default;
};

/// Prices of one platform in one region: docs/formats/price-table.md. Free tiers and discounts are not in it.
struct PriceTable {
  std::string name;    ///< of the platform, for people: "AWS Lambda"
  std::string region;  ///< "us-east-1"
  std::string date;    ///< the day of which these prices are, "2025-08-01"
  std::string source;  ///< where they come from, for people
  FunctionPrices functions;
  std::map<std::string, ServicePrices> services;
  Instances instances;     ///< no types: the table has none
  StartupProfile startup;  ///< no points: nothing is known, and 0 is reckoned with
  bool operator==(const PriceTable&) const = default;
};

/// Pure. `what` names the file in errors. Throws Error(kUsage), naming the member that is wrong.
[[nodiscard]] PriceTable parse_price_table(std::string_view json_text, const std::string& what);
/// Throws as parse_price_table() and read_file(); a file above 1 MiB is refused.
[[nodiscard]] PriceTable load_price_table(const std::filesystem::path& path);

/// What parse_price_table() reads back as the same table.
[[nodiscard]] std::string price_table_text(const PriceTable& table);

/// A file of examples/prices/, whose text is part of the program.
struct BuiltinPrices {
  std::string_view name;  ///< "aws-us-east-1"
  std::string_view text;
};
/// The default comes first.
[[nodiscard]] std::span<const BuiltinPrices> builtin_prices() noexcept;
/// The default: that of examples/prices/aws-us-east-1.json. Threads may share it.
[[nodiscard]] const PriceTable& builtin_price_table();

/// Is it a file's name, and not that of a built-in table?
[[nodiscard]] bool is_price_file(std::string_view text) noexcept;
/// Throws Error(kUsage) with the nearest name if it is neither a built-in table's nor a file's.
void check_price_name(std::string_view text);
/// Throws as check_price_name() and load_price_table().
[[nodiscard]] PriceTable find_price_table(const std::string& name_or_file);

/// A limit as the platform sets it: whole megabytes, rounded up, at least its smallest.
[[nodiscard]] std::uint64_t billed_megabytes(const FunctionPrices& prices, std::uint64_t memory_bytes) noexcept;
/// Rounded up to what is billed.
[[nodiscard]] std::chrono::milliseconds billed_time(const FunctionPrices& prices,
                                                    std::chrono::nanoseconds time) noexcept;
[[nodiscard]] double gb_seconds(const FunctionPrices& prices, std::uint64_t memory_bytes,
                                std::chrono::milliseconds billed) noexcept;
/// Processors that a function has with this limit.
[[nodiscard]] double vcpus(const FunctionPrices& prices, std::uint64_t memory_bytes) noexcept;

/// One invocation that was billed for that time, its request included. Grows with both.
[[nodiscard]] Usd invocation_price(const FunctionPrices& prices, std::uint64_t memory_bytes,
                                   std::chrono::milliseconds billed);
/// The prices of a service. Throws Error(kNotFound), naming those that there are.
[[nodiscard]] const ServicePrices& service_prices(const PriceTable& table, const std::string& service);
/// A type of virtual machine. Throws Error(kNotFound), naming those that there are.
[[nodiscard]] const Instance& find_instance(const PriceTable& table, const std::string& type);
/// On the straight line between the two nearest points; fewer workers than the first take its time, and more than the
/// last its. 0 without points.
[[nodiscard]] double startup_seconds(const std::map<std::uint32_t, double>& points, std::uint32_t workers) noexcept;
/// A service that was there for that long, requests left out; nothing for a time of 0. Grows with the time.
[[nodiscard]] Usd service_time_price(const ServicePrices& prices, double seconds);
/// Of requests and their bytes, beside the time.
[[nodiscard]] Usd service_use_price(const ServicePrices& prices, const ServiceUse& use);

/// `dollars`, or the most that an amount can be.
[[nodiscard]] Usd bounded_usd(double dollars);

}  // namespace virga
