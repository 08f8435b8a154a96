#include "server/core/checkpoints.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lockstep::core {
namespace {

class CheckpointCoreTest : public ::testing::Test {
 protected:
  // What an event asks for: "ask V", "manifest V" and "remove before V".
  template <typename Event>
  std::vector<std::string> Do(const Event& event) {
    CheckpointEffects effects;
    core_.Step(event, now_, effects);
    return Text(effects);
  }
  std::vector<std::string> Tick(absl::Duration passed) {
    now_ += passed;
    CheckpointEffects effects;
    core_.Tick(now_, effects);
    return Text(effects);
  }
  static std::vector<std::string> Text(const CheckpointEffects& effects) {
    std::vector<std::string> text;
    for (const CheckpointEffect& effect : effects) {
      if (const auto* ask = std::get_if<AskForCheckpoint>(&effect)) {
        text.push_back("ask " + std::to_string(ask->version.value()));
      } else if (const auto* remove = std::get_if<RemoveOldCheckpoints>(&effect)) {
        text.push_back("remove before " + std::to_string(remove->newest.value()));
      } else {
        const auto& parts = std::get<WriteCheckpointManifest>(effect).parts;
        text.push_back("manifest " + std::to_string(parts[0].version.value()));
      }
    }
    return text;
  }
  static PartWritten Written(uint32_t shard, uint64_t version, uint64_t completed_in = 1) {
    return {.shard = ShardIndex(shard),
            .part = {.version = Version(version),
                     .completed_in = Generation(completed_in),
                     .participants = {},
                     .file = "",
                     .bytes = 0,
                     .head_xxh3_128 = ""}};
  }
  static PartMissed Missed(uint32_t shard, uint64_t version, uint64_t next, std::string error = "") {
    return {.shard = ShardIndex(shard), .version = Version(version), .next = Round(next), .error = std::move(error)};
  }
  using Strings = std::vector<std::string>;

  CheckpointCore core_{2};
  absl::Time now_ = absl::UnixEpoch();
};

TEST_F(CheckpointCoreTest, EveryTenRounds_NamesEachMultipleOnceAllPartsOfTheOneBeforeAreThere) {
  core_.SetTriggers({.rounds = 10});
  EXPECT_EQ(Do(GenerationBegins{Round(1)}), Strings{"ask 10"});
  EXPECT_EQ(Do(RoundSeen{Round(11)}), Strings{});
  EXPECT_EQ(Do(Written(1, 10)), Strings{});
  EXPECT_FALSE(core_.newest().has_value()) << "one shard's file is no checkpoint";
  EXPECT_EQ(Do(Written(0, 10)), Strings{"manifest 10"});
  EXPECT_FALSE(core_.newest().has_value()) << "there is no manifest yet";
  EXPECT_EQ(Do(ManifestWritten{Version(10), ""}), (Strings{"remove before 10", "ask 20"}));
  EXPECT_EQ(core_.newest(), Version(10));
}

TEST_F(CheckpointCoreTest, AskedFor_NamesOneALittleAhead_AndTheSameWhenAskedAgain) {
  EXPECT_EQ(Do(GenerationBegins{Round(5)}), Strings{});
  EXPECT_EQ(Do(CheckpointWanted{}), Strings{"ask 6"});
  EXPECT_EQ(Do(CheckpointWanted{}), Strings{});
  Do(Written(0, 6));
  EXPECT_EQ(Do(Written(1, 6)), Strings{"manifest 6"});
  EXPECT_EQ(Do(ManifestWritten{Version(6), ""}), Strings{"remove before 6"}) << "once for both";
}

TEST_F(CheckpointCoreTest, ShardHasPassedIt_NamesOneTwiceAsFarAhead) {
  Do(GenerationBegins{Round(5)});
  Do(CheckpointWanted{});
  EXPECT_EQ(Do(Missed(0, 6, 100)), Strings{"ask 102"});
  EXPECT_EQ(Do(Written(1, 6)), Strings{}) << "of one that was given up";
  EXPECT_EQ(Do(Missed(1, 102, 200)), Strings{"ask 204"});
}

TEST_F(CheckpointCoreTest, DiskRefuses_GivesUpSaysWhyAndGoesOnWithTheNext) {
  core_.SetTriggers({.rounds = 10});
  Do(GenerationBegins{Round(1)});
  EXPECT_EQ(Do(Missed(1, 10, 12, "the disk is full")), Strings{"ask 20"});
  EXPECT_EQ(core_.failures(), 1u);
  EXPECT_EQ(core_.trouble(), "shard 1: the disk is full");
  Do(Written(0, 20));
  Do(Written(1, 20));
  Do(ManifestWritten{Version(20), ""});
  EXPECT_EQ(core_.trouble(), "");
}

TEST_F(CheckpointCoreTest, EveryTenSeconds_NamesOneWhenTheyHavePassed) {
  core_.SetTriggers({.rounds = 0, .interval = absl::Seconds(10)});
  Do(GenerationBegins{Round(1)});
  EXPECT_EQ(Tick(absl::Seconds(9)), Strings{});
  Do(RoundSeen{Round(50)});
  EXPECT_EQ(Tick(absl::Seconds(1)), Strings{"ask 51"});
  EXPECT_EQ(Tick(absl::Seconds(30)), Strings{}) << "one is under way";
}

TEST_F(CheckpointCoreTest, NewGeneration_AsksAgainAndForgetsWhatWasAnswered) {
  core_.SetTriggers({.rounds = 10});
  Do(GenerationBegins{Round(1)});
  Do(Written(0, 10, 1));
  EXPECT_EQ(Do(GenerationBegins{Round(10)}), Strings{"ask 10"});
  EXPECT_EQ(Do(Written(1, 10, 2)), Strings{}) << "the other's is void";
  EXPECT_EQ(Do(Written(0, 10, 2)), Strings{"manifest 10"});
}

TEST_F(CheckpointCoreTest, PartsOfDifferentGenerations_AreNoCheckpoint) {
  core_.SetTriggers({.rounds = 10});
  Do(GenerationBegins{Round(1)});
  Do(Written(0, 10, 1));
  EXPECT_EQ(Do(Written(1, 10, 2)), Strings{});
  EXPECT_EQ(core_.failures(), 1u);
}

TEST_F(CheckpointCoreTest, RunBeginsWithARestoredVersion_ThatBecomesItsFirstCheckpoint) {
  core_.SetTriggers({.rounds = 10});
  EXPECT_EQ(Do(GenerationBegins{.resume = Round(8), .restored = true}), Strings{"ask 7"});
}

// Found by the simulation: one shard had found the old one, another one only the new one, and the run failed.
TEST_F(CheckpointCoreTest, ManifestWrittenWhileAGenerationChanges_NothingIsRemoved) {
  core_.SetTriggers({.rounds = 10});
  Do(GenerationBegins{Round(1)});
  Do(RoundSeen{Round(11)});
  Do(Written(0, 10));
  EXPECT_EQ(Do(Written(1, 10)), Strings{"manifest 10"});
  EXPECT_EQ(Do(ManifestWritten{.version = Version(10), .error = "", .changing = true}), Strings{"ask 20"});
  EXPECT_EQ(core_.newest(), Version(10));
}

// Found by the simulation: what all shards had just restored was removed in favour of what they had given up.
TEST_F(CheckpointCoreTest, RunHasGoneBackWhileItsManifestWasWritten_ItDoesNotCountAndNothingIsRemoved) {
  core_.SetTriggers({.rounds = 10});
  Do(GenerationBegins{Round(1)});
  Do(RoundSeen{Round(11)});
  Do(Written(0, 10));
  Do(Written(1, 10));
  Do(ManifestWritten{Version(10), ""});
  Do(RoundSeen{Round(21)});
  Do(Written(0, 20));
  EXPECT_EQ(Do(Written(1, 20)), Strings{"manifest 20"});
  EXPECT_EQ(Do(GenerationBegins{.resume = Round(11), .restored = true}), Strings{});
  EXPECT_EQ(Do(ManifestWritten{Version(20), ""}), Strings{"ask 20"}) << "once more, in the history that counts";
  EXPECT_EQ(core_.newest(), Version(10));
  EXPECT_EQ(core_.finished(), 1u);
}

}  // namespace
}  // namespace lockstep::core
