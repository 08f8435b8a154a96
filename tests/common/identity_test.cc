#include "common/identity.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lockstep {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

Surroundings Around(std::map<std::string, std::string> variables, const std::string& host = "laptop") {
  return {.variable = [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
            const auto at = variables.find(name);
            if (at == variables.end() || at->second.empty()) return std::nullopt;
            return at->second;
          },
          .host = host,
          .full_host = host};
}

// With an endpoint, which every worker needs.
WorkerPlace Worker(std::map<std::string, std::string> variables, const std::string& host = "laptop",
                   GivenWorkerPlace given = {}) {
  variables.try_emplace("LOCKSTEP_ENDPOINT", "shard-0:1");
  absl::StatusOr<WorkerPlace> place = FindWorkerPlace(given, Around(std::move(variables), host));
  EXPECT_TRUE(place.ok()) << place.status();
  return place.ok() ? *std::move(place) : WorkerPlace{};
}

std::string WorkerError(std::map<std::string, std::string> variables, GivenWorkerPlace given = {}) {
  variables.try_emplace("LOCKSTEP_ENDPOINT", "shard-0:1");
  const absl::Status status = FindWorkerPlace(given, Around(std::move(variables))).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

ServerPlace Server(const Surroundings& surroundings, const GivenServerPlace& given = {}) {
  absl::StatusOr<ServerPlace> place = FindServerPlace(given, surroundings);
  EXPECT_TRUE(place.ok()) << place.status();
  return place.ok() ? *std::move(place) : ServerPlace{};
}

std::string ServerError(const Surroundings& surroundings, const GivenServerPlace& given = {}) {
  const absl::Status status = FindServerPlace(given, surroundings).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

constexpr char kTfWorker[] =
    R"({"cluster": {"chief": ["c-0:2222"], "worker": ["w-0:2222", "w-1:2222"], "ps": ["p-0:2222", "p-1:2223"]},
        "task": {"type": "worker", "index": 1}})";
constexpr char kTfShard[] =
    R"({"cluster": {"worker": ["w-0:2222", "w-1:2222"], "ps": ["p-0:2222", "p-1:2223"]},
        "task": {"type": "ps", "index": "1"}})";

TEST(WorkerRank, EverySource_LosesToTheOneBefore) {
  std::map<std::string, std::string> variables = {{"TF_CONFIG", kTfWorker}};
  GivenWorkerPlace given{.rank_from_hostname = true};
  const auto rank = [&] { return Worker(variables, "train-6", given).rank; };
  EXPECT_EQ(Worker({}, "train-6", given).rank, 6u);
  EXPECT_EQ(rank(), 2u);  // after the chief
  variables["PET_NODE_RANK"] = "10";
  EXPECT_EQ(rank(), 10u);
  variables["RANK"] = "11";
  EXPECT_EQ(rank(), 11u);
  variables["JOB_COMPLETION_INDEX"] = "12";
  EXPECT_EQ(rank(), 12u);
  variables["LOCKSTEP_RANK"] = "13";
  EXPECT_EQ(rank(), 13u);
  given.rank = 14;
  EXPECT_EQ(rank(), 14u);
  EXPECT_THAT(Worker(variables, "train-6", given).found,
              Contains("rank 14 (--rank; LOCKSTEP_RANK says 13, which is not used; JOB_COMPLETION_INDEX says 12, which "
                       "is not used; RANK says 11, which is not used; PET_NODE_RANK says 10, which is not used; "
                       "TF_CONFIG says 2, which is not used; the host name train-6 says 6, which is not used)"));
}

TEST(WorkerRank, JobCompletionIndex_IsNamedAsItsSource) {
  EXPECT_THAT(Worker({{"JOB_COMPLETION_INDEX", "3"}}).found, Contains("rank 3 (JOB_COMPLETION_INDEX)"));
}

TEST(WorkerRank, HostNameThatIsNotSaidToBeAStatefulSets_NamesNone) {
  EXPECT_EQ(Worker({}, "train-6").rank, std::nullopt);
}

TEST(WorkerRank, StatefulSetWithoutOrdinal_IsAnErrorThatNamesTheHost) {
  EXPECT_THAT(WorkerError({}, {.rank_from_hostname = true}), HasSubstr("laptop"));
}

TEST(WorkerRank, Rubbish_NamesTheVariable) {
  for (const char* variable : {"LOCKSTEP_RANK", "JOB_COMPLETION_INDEX", "RANK", "PET_NODE_RANK"}) {
    for (const char* text : {"x", "-1", "1x", "99999999999", "4096", "tcp://10.0.0.1:7700"}) {
      EXPECT_THAT(WorkerError({{variable, text}}), HasSubstr(absl::StrCat(variable, ": expected"))) << text;
    }
  }
}

TEST(WorkerRank, RubbishBehindAGoodSource_IsNotLookedAt) {
  EXPECT_EQ(Worker({{"LOCKSTEP_RANK", "1"}, {"RANK", "x"}, {"PET_NODE_RANK", "-"}}).rank, 1u);
}

TEST(WorkerRank, EmptyVariable_IsLikeNone) { EXPECT_EQ(Worker({{"LOCKSTEP_RANK", ""}, {"RANK", "2"}}).rank, 2u); }

TEST(TfConfig, Rubbish_NamesTheVariable) {
  for (const char* text :
       {"{", "[]", "7", R"({"task": 3})", R"({"task": {"type": 3}})", R"({"task": {"type": "worker", "index": -1}})",
        R"({"task": {"type": "worker", "index": {}}})", R"({"task": {"type": "worker", "index": 1e30}})"}) {
    EXPECT_THAT(WorkerError({{"TF_CONFIG", text}}), HasSubstr("TF_CONFIG: expected JSON")) << text;
  }
}

TEST(TfConfig, Chief_IsRank0) {
  EXPECT_EQ(
      Worker({{"TF_CONFIG", R"({"cluster": {"chief": ["c"], "worker": ["w"]}, "task": {"type": "chief"}})"}}).rank, 0u);
}

TEST(TfConfig, OneOfAShard_GivesAWorkerNoRank) { EXPECT_EQ(Worker({{"TF_CONFIG", kTfShard}}).rank, std::nullopt); }

TEST(TfConfig, Ps_GivesAServerItsWholePlace) {
  const ServerPlace place = Server(Around({{"TF_CONFIG", kTfShard}}));
  EXPECT_EQ(place.shard_index, 1u);
  EXPECT_EQ(place.shards, 2u);
  EXPECT_EQ(place.workers, 2u);
  EXPECT_EQ(place.coordinator, "p-0:2222");
  EXPECT_EQ(place.advertise, "p-1:2223");
  EXPECT_EQ(place.bind, "0.0.0.0:2223");
}

TEST(TfConfig, Worker_IsToldWhereTheCoordinatorIs) {
  const absl::StatusOr<WorkerPlace> place = FindWorkerPlace({}, Around({{"TF_CONFIG", kTfWorker}}));
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->endpoint, "p-0:2222");
  EXPECT_EQ(place->workers, 3u);
}

TEST(WorkerEndpoint, Nothing_SaysHowToGiveOne) {
  const absl::Status status = FindWorkerPlace({}, Around({})).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("LOCKSTEP_ENDPOINT"));
}

TEST(WorkerEndpoint, WithoutPort_GetsTheDefaultOne) {
  EXPECT_EQ(Worker({{"LOCKSTEP_ENDPOINT", "lockstep-shard-0.lockstep"}}).endpoint, "lockstep-shard-0.lockstep:7700");
}

TEST(WorkerEndpoint, VariableThatKubernetesHasNotFilledIn_IsExplained) {
  EXPECT_THAT(WorkerError({{"LOCKSTEP_ENDPOINT", "$(POD).lockstep:1"}}), HasSubstr("$(VARIABLE)"));
}

TEST(WorkerName, HostName_IsTheLastResort) {
  EXPECT_EQ(Worker({}, "box").name, "box");
  EXPECT_EQ(Worker({{"HOSTNAME", "pod"}}, "box").name, "pod");
  EXPECT_EQ(Worker({{"HOSTNAME", "pod"}, {"LOCKSTEP_NAME", "a"}}, "box").name, "a");
  EXPECT_EQ(Worker({{"HOSTNAME", "pod"}, {"LOCKSTEP_NAME", "a"}}, "box", {.name = "b"}).name, "b");
}

TEST(WorkerName, PodOfAnIndexedJob_HasTheSameInEveryLife) {
  EXPECT_EQ(Worker({{"HOSTNAME", "train-3-x7k2p"}, {"JOB_COMPLETION_INDEX", "3"}}).name, "train-3");
  EXPECT_EQ(Worker({{"HOSTNAME", "train-3"}, {"JOB_COMPLETION_INDEX", "3"}}).name, "train-3");
}

TEST(WorkerName, PodOfAnotherJob_KeepsItsLetters) {
  EXPECT_EQ(Worker({{"HOSTNAME", "train-3-x7k2p"}}).name, "train-3-x7k2p");
  EXPECT_EQ(Worker({{"HOSTNAME", "train-4-x7k2p"}, {"JOB_COMPLETION_INDEX", "3"}}).name, "train-4-x7k2p");
}

TEST(WorkerName, SeveralProcessesOfOneHost_HaveOneEach) {
  EXPECT_EQ(Worker({{"HOSTNAME", "node"}, {"LOCAL_RANK", "1"}}).name, "node-1");
}

TEST(WorkerCount, ElasticRange_IsItsUpperEnd) {
  EXPECT_EQ(Worker({{"PET_NNODES", "2:4"}}).workers, 4u);
  EXPECT_EQ(Worker({{"PET_NNODES", "3"}}).workers, 3u);
  EXPECT_EQ(Worker({{"PET_NNODES", "3"}, {"WORLD_SIZE", "8"}}).workers, 8u);
  EXPECT_THAT(WorkerError({{"PET_NNODES", "some"}}), HasSubstr("PET_NNODES"));
}

// ---- Servers ----

TEST(ShardIndex, OrdinalOfAStatefulSet_IsUsed) {
  const ServerPlace place = Server(Around(
      {{"LOCKSTEP_SHARDS", "3"}, {"LOCKSTEP_ADVERTISE", "lockstep-shard-2.lockstep-shards:7700"}}, "lockstep-shard-2"));
  EXPECT_EQ(place.shard_index, 2u);
  EXPECT_THAT(place.found, Contains("shard index 2 (the host name lockstep-shard-2)"));
  EXPECT_EQ(place.coordinator, "lockstep-shard-0.lockstep-shards:7700");
}

TEST(ShardIndex, EverySource_LosesToTheOneBefore) {
  std::map<std::string, std::string> variables = {{"LOCKSTEP_SHARDS", "9"}, {"LOCKSTEP_COORDINATOR", "c:1"}};
  GivenServerPlace given;
  const auto index = [&] { return Server(Around(variables, "shard-1"), given).shard_index; };
  EXPECT_EQ(index(), 1u);
  variables["TF_CONFIG"] = R"({"task": {"type": "ps", "index": 2}})";
  EXPECT_EQ(index(), 2u);
  variables["JOB_COMPLETION_INDEX"] = "3";
  EXPECT_EQ(index(), 3u);
  variables["LOCKSTEP_SHARD_INDEX"] = "4";
  EXPECT_EQ(index(), 4u);
  given.shard_index = 0;
  EXPECT_EQ(index(), 0u);
}

TEST(ShardIndex, OnlyShard_IsNotTakenFromTheMachinesName) { EXPECT_EQ(Server(Around({}, "node-7")).shard_index, 0u); }

TEST(ShardIndex, NothingToTellSeveralShardsApart_IsAnError) {
  EXPECT_THAT(ServerError(Around({{"LOCKSTEP_SHARDS", "2"}})), HasSubstr("LOCKSTEP_SHARD_INDEX"));
}

TEST(ShardIndex, BeyondTheShards_NamesBothSources) {
  EXPECT_THAT(ServerError(Around({{"LOCKSTEP_SHARDS", "2"}}, "shard-2")),
              testing::AllOf(HasSubstr("the host name shard-2"), HasSubstr("LOCKSTEP_SHARDS")));
}

TEST(ShardIndex, RubbishInAVariable_NamesIt) {
  EXPECT_THAT(ServerError(Around({{"LOCKSTEP_SHARD_INDEX", "one"}})), HasSubstr("LOCKSTEP_SHARD_INDEX: expected"));
  EXPECT_THAT(ServerError(Around({{"LOCKSTEP_SHARDS", "tcp://10.0.0.1:7700"}})),
              HasSubstr("LOCKSTEP_SHARDS: expected"));
  EXPECT_THAT(ServerError(Around({{"LOCKSTEP_WORKERS", "0"}})), HasSubstr("LOCKSTEP_WORKERS: expected"));
}

TEST(ServerAddresses, FullNameOfAPod_LeadsToItsSibling) {
  Surroundings surroundings = Around({{"LOCKSTEP_SHARDS", "2"}}, "ps-1");
  surroundings.full_host = "ps-1.shards.default.svc.cluster.local";
  const ServerPlace place = Server(surroundings);
  EXPECT_EQ(place.coordinator, "ps-0.shards.default.svc.cluster.local:7700");
  EXPECT_EQ(place.advertise_host, "ps-1.shards.default.svc.cluster.local");
  EXPECT_EQ(place.bind, "0.0.0.0:7700");
}

TEST(ServerAddresses, NoWayToTheCoordinator_IsAnError) {
  EXPECT_THAT(ServerError(Around({{"LOCKSTEP_SHARDS", "2"}, {"LOCKSTEP_SHARD_INDEX", "1"}})),
              HasSubstr("LOCKSTEP_COORDINATOR"));
}

TEST(ServerAddresses, NameOfAnotherOrdinal_LeadsNowhere) {
  EXPECT_THAT(ServerError(Around({{"LOCKSTEP_SHARDS", "3"}, {"LOCKSTEP_SHARD_INDEX", "1"}}, "ps-2")),
              HasSubstr("LOCKSTEP_COORDINATOR"));
}

TEST(WithPort, AddressWithAPort_StaysAsItIs) {
  EXPECT_EQ(WithPort("host:1"), "host:1");
  EXPECT_EQ(WithPort("[::1]:1"), "[::1]:1");
  EXPECT_EQ(WithPort("[::1]"), "[::1]:7700");
  EXPECT_EQ(WithPort("host", 9), "host:9");
}

}  // namespace
}  // namespace lockstep
