#include "virga/cost/price_table.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::HasSubstr;

std::string refusal(const json& table) {
  try {
    static_cast<void>(parse_price_table(table.dump(), "mine.json"));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "accepted";
}

json builtin() { return json::parse(builtin_prices()[0].text); }

TEST(PriceTableTest, TheBuiltInOnesAreTheExampleFiles) {
  const std::filesystem::path source =
      std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  for (const auto& [name, text] : builtin_prices()) {
    const auto file = source / "examples/prices" / (std::string(name) + ".json");
    const auto bytes = read_file(file);
    EXPECT_EQ(as_text(bytes), text);
    EXPECT_EQ(load_price_table(file), find_price_table(std::string(name)));
  }
  EXPECT_EQ(find_price_table("aws-us-east-1"), builtin_price_table());
}

TEST(PriceTableTest, IsWrittenAsItIsRead) {
  PriceTable bare{.name = "Mine", .region = "", .date = "2026-01-01", .source = "a \"test\""};
  bare.functions.usd_per_gb_second = 0.1 + 0.2;
  bare.services["redis"] = {.usd_per_hour = 1e-7, .smallest = 3s, .usd_per_gb_transferred = 1.0 / 3};
  for (const auto& table : {bare, builtin_price_table(), find_price_table("ibm-2021")}) {
    EXPECT_EQ(parse_price_table(price_table_text(table), "again"), table);
  }
}

TEST(PriceTableTest, IsFoundByItsNameOrAsAFile) {
  const auto refused = [](const std::string& name) {
    try {
      static_cast<void>(find_price_table(name));
    } catch (const Error& error) {
      return std::pair(std::string(error.what()), error.remedy());
    }
    return std::pair(std::string("found"), std::string());
  };
  EXPECT_EQ(find_price_table("ibm-2021").name, "IBM Cloud Functions");
  EXPECT_EQ(refused("ibm-2012").first,
            "there is no price table 'ibm-2012' in this program, only aws-us-east-1, ibm-2021");
  EXPECT_EQ(refused("ibm-2012").second, "did you mean ibm-2021?");
  EXPECT_EQ(refused("mine").second, "of one of your own, name the file: ./mine.json");
  EXPECT_THAT(refused("./mine.json").first, HasSubstr("./mine.json"));
}

TEST(PriceTableTest, OfMLLessHasItsFigures) {
  const auto table = find_price_table("ibm-2021");
  EXPECT_EQ(table.functions.usd_per_gb_second, 0.000017);
  EXPECT_EQ(table.functions.usd_per_request, 0);
  EXPECT_EQ(table.functions.granularity, 100ms);
  EXPECT_EQ(service_prices(table, "redis").usd_per_hour, 0.17);
  EXPECT_EQ(service_prices(table, "rabbitmq").usd_per_hour, 0.15);
  EXPECT_THAT(table.source, HasSubstr("not verified against IBM"));
  for (const char* service : {"dynamodb", "memcached", "object-store"}) {
    EXPECT_THROW(static_cast<void>(service_prices(table, service)), Error) << service;
  }
  EXPECT_TRUE(table.instances.types.empty());
  EXPECT_EQ(startup_seconds(table.startup.functions, 50), 0);
}

TEST(PriceTableTest, HasThePricesOfTheExample) {
  const auto& table = builtin_price_table();
  EXPECT_EQ(table.name, "AWS Lambda");
  EXPECT_EQ(table.functions.usd_per_gb_second, 0.0000166667);
  EXPECT_DOUBLE_EQ(table.functions.usd_per_request, 0.20 / 1e6);
  EXPECT_EQ(table.functions.granularity, 1ms);
  EXPECT_DOUBLE_EQ(table.services.at("object-store").usd_per_write, 0.005 / 1000);
  EXPECT_EQ(table.services.at("data-store").usd_per_hour, 0.085);
}

TEST(PriceTableTest, AnInvocationCostsItsGigabyteSecondsAndItsRequest) {
  const auto& prices = builtin_price_table().functions;
  // One GB for 1,000 s: 1,000 x 0.0000166667, and one request.
  EXPECT_EQ(invocation_price(prices, 1'024'000'000, 1000s), Usd::of(0.0166667) + Usd::of(0.0000002));
  EXPECT_EQ(gb_seconds(prices, 512'000'000, 3s), 1.5);
  EXPECT_EQ(vcpus(prices, 1'769'000'000), 1.0);
}

TEST(PriceTableTest, RoundsMemoryUpToMegabytesAndTimeUpToMilliseconds) {
  auto prices = builtin_price_table().functions;
  EXPECT_EQ(billed_megabytes(prices, 708'000'001), 709U);
  EXPECT_EQ(billed_megabytes(prices, 1), 128U);
  EXPECT_EQ(billed_time(prices, 1ns), 1ms);
  EXPECT_EQ(billed_time(prices, 2ms), 2ms);
  EXPECT_EQ(billed_time(prices, -5ms), 0ms);
  prices.granularity = 100ms;
  EXPECT_EQ(billed_time(prices, 101ms), 200ms);
}

TEST(PriceTableTest, AServiceIsBilledByTheSecondFromItsSmallestTimeOn) {
  const auto& store = service_prices(builtin_price_table(), "data-store");
  EXPECT_EQ(service_time_price(store, 0), Usd());
  EXPECT_EQ(service_time_price(store, 0.1), service_time_price(store, 60));
  EXPECT_EQ(service_time_price(store, 3600), Usd::of(0.085));
  EXPECT_LT(service_time_price(store, 60), service_time_price(store, 60.5));
}

TEST(PriceTableTest, NamesTheServicesThatHavePrices) {
  try {
    static_cast<void>(service_prices(builtin_price_table(), "pigeons"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr("'pigeons'"));
    EXPECT_THAT(error.what(), HasSubstr("data-store, driver, dynamodb, machine, memcached, object-store, redis"));
  }
}

TEST(PriceTableTest, NamesWhatIsWrong) {
  const auto with = [](const std::string& pointer, const json& value) {
    auto table = builtin();
    table[json::json_pointer(pointer)] = value;
    return refusal(table);
  };
  EXPECT_EQ(refusal(builtin()), "accepted");
  EXPECT_THAT(with("/lambda/usd_per_gb_second", -1), HasSubstr("mine.json: lambda.usd_per_gb_second must be a number"));
  EXPECT_THAT(with("/lambda/usd_per_gb_second", nullptr), HasSubstr("lambda.usd_per_gb_second"));
  EXPECT_THAT(with("/lambda/granularity_ms", 0), HasSubstr("lambda.granularity_ms must be a whole number from 1"));
  EXPECT_THAT(with("/lambda/largest_mb", 1), HasSubstr("lambda.largest_mb must be a whole number from 128"));
  EXPECT_THAT(with("/lambda/bills_init", "yes"), HasSubstr("lambda.bills_init must be true or false"));
  EXPECT_THAT(with("/lambda/usd_per_gb_secnd", 1), HasSubstr("lambda.usd_per_gb_secnd is not known"));
  EXPECT_THAT(with("/services/data-store/usd_per_hour", 1e9), HasSubstr("services.data-store.usd_per_hour"));
  EXPECT_THAT(with("/services/mine", json::object()), HasSubstr("services.mine.usd_per_hour is missing"));
  EXPECT_THAT(with("/currency", "EUR"), HasSubstr("currency must be \"USD\""));
  EXPECT_THAT(with("/date", "yesterday"), HasSubstr("date must be a day"));
  EXPECT_THAT(with("/date", "2025-13-01"), HasSubstr("date must be a day"));
  EXPECT_THAT(with("/name", ""), HasSubstr("name must have 1 to 64 bytes"));
  EXPECT_THAT(with("/schema_version", 2), HasSubstr("schema_version is not 1"));
  EXPECT_THAT(refusal(json::array()), HasSubstr("schema_version is not 1"));
}

TEST(PriceTableTest, RefusesWhatIsNoSmallJson) {
  EXPECT_THROW(static_cast<void>(parse_price_table("{", "x")), Error);
  EXPECT_THROW(static_cast<void>(parse_price_table(std::string(100'000, '['), "x")), Error);
}

TEST(PriceTableTest, KnowsTypesOfVirtualMachines) {
  const auto& table = builtin_price_table();
  const auto& large = find_instance(table, "c5.large");
  EXPECT_EQ(large.rent.usd_per_hour, 0.085);
  EXPECT_EQ(large.rent.smallest, 60s);
  EXPECT_EQ(large.vcpus, 2U);
  EXPECT_EQ(large.memory_mb, 4096U);
  EXPECT_EQ(find_instance(table, "t2.medium").rent.usd_per_hour, 0.0464);
  try {
    static_cast<void>(find_instance(table, "c5.huge"));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr("no type of virtual machine 'c5.huge', only: c5.large, t2.medium"));
  }
}

TEST(PriceTableTest, ReckonsStartUpOnALineBetweenTwoPointsAndNoFurther) {
  const auto& startup = builtin_price_table().startup;
  EXPECT_EQ(startup_seconds(startup.machines, 1), 132);
  EXPECT_EQ(startup_seconds(startup.machines, 10), 132);
  EXPECT_EQ(startup_seconds(startup.machines, 30), 146);
  EXPECT_EQ(startup_seconds(startup.machines, 200), 606);
  EXPECT_EQ(startup_seconds(startup.machines, 1024), 606);
  EXPECT_EQ(startup_seconds(startup.functions, 4), 1.2);
  EXPECT_DOUBLE_EQ(startup_seconds(startup.functions, 75), 14.5);
  EXPECT_EQ(startup_seconds({}, 4), 0);
}

TEST(PriceTableTest, MayLackMachinesAndTheirStart) {
  auto table = builtin();
  table.erase("instances");
  table.erase("startup");
  EXPECT_EQ(refusal(table), "accepted");
  table = builtin();
  table["instances"]["types"]["c5.large"]["vcpus"] = 0;
  EXPECT_THAT(refusal(table), HasSubstr("instances.types.c5.large.vcpus must be a whole number from 1"));
  table = builtin();
  table["startup"]["machines"]["many"] = 3;
  EXPECT_THAT(refusal(table), HasSubstr("startup.machines must be like"));
  table = builtin();
  table["startup"]["functions"]["10"] = -1;
  EXPECT_THAT(refusal(table), HasSubstr("startup.functions must be seconds from 0"));
}

}  // namespace
}  // namespace virga
