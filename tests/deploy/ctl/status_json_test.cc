#include "deploy/ctl/status_json.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/deploy/ctl/statuses.h"

namespace lockstep::ctl {
namespace {

TEST(StatusJson, HealthyRun_HasNumbersAsNumbers) {
  const Json json = StatusJson(HealthyRun(16, 4));
  EXPECT_EQ(json["run_id"], "3f9a2c01");
  EXPECT_EQ(json["state"], "training");
  EXPECT_EQ(json["healthy"], true);
  EXPECT_EQ(json["version"], 117);
  EXPECT_TRUE(json["waiting_for"].is_array() && json["waiting_for"].empty());
  EXPECT_EQ(json["workers"].size(), 16u);
  EXPECT_EQ(json["workers"][0]["incarnation"], "fedcba9876543210");
  EXPECT_EQ(json["shards"][3]["blocks"], 12);
  EXPECT_EQ(json["rounds"][0]["participants"].size(), 16u);
  EXPECT_EQ(json["lease_seconds"], 5.0);
  EXPECT_EQ(json["model"]["tensors"][0]["shape"], Json::parse("[128, 784]"));
  EXPECT_EQ(json["optimizer"]["lr"], 0.001);
  EXPECT_EQ(json["coordinator"], "127.0.0.1:7000");
}

TEST(StatusJson, Straggler_IsWaitedFor) {
  const Json waiting = StatusJson(StragglerRun(4, 2, 3))["waiting_for"];
  ASSERT_EQ(waiting.size(), 1u);
  EXPECT_EQ(waiting[0]["rank"], 3);
  EXPECT_FALSE(waiting[0].contains("shard"));
  EXPECT_EQ(waiting[0]["name"], "worker-3");
  EXPECT_EQ(waiting[0]["since_seconds"], 8.2);
  EXPECT_EQ(waiting[0]["missing"], Json::parse(R"([{"shard": 0, "missing_blocks": 12, "blocks": 12},
                            {"shard": 1, "missing_blocks": 3, "blocks": 12}])"));
}

TEST(StatusJson, RankZero_IsStillARank) { EXPECT_EQ(StatusJson(StragglerRun(4, 2, 0))["waiting_for"][0]["rank"], 0); }

TEST(StatusJson, AbsentShards_AreWaitedForByShard) {
  const Json json = StatusJson(AbsentShardsRun(4, 2));
  EXPECT_EQ(json["state"], "waiting_for_shards");
  EXPECT_EQ(json["waiting_for"][0]["shard"], 1);
  EXPECT_FALSE(json["waiting_for"][0].contains("rank"));
  EXPECT_TRUE(json["version"].is_null());
  EXPECT_TRUE(json["shards"][0]["version"].is_null());
}

TEST(StatusJson, EmptyMessage_HasAllArrays) {
  const Json json = StatusJson(v1::Status());
  for (const char* key : {"waiting_for", "workers", "shards", "rounds"}) {
    EXPECT_TRUE(json[key].is_array()) << key;
  }
  EXPECT_TRUE(json["model"]["tensors"].is_array());
}

TEST(Dump, NumbersThatAreNone_AreStillJson) {
  v1::Status status = HealthyRun(1, 1);
  status.set_uptime_seconds(std::numeric_limits<double>::infinity());
  EXPECT_TRUE(Json::parse(Dump(StatusJson(status), 2))["uptime_seconds"].is_null());
}

TEST(Dump, NoIndent_IsOneLine) { EXPECT_EQ(Dump(StatusJson(WorstRun(16, 4)), -1).find('\n'), std::string::npos); }

}  // namespace
}  // namespace lockstep::ctl
