// What of the command lines of lockstep-server and lockstep-worker comes from the environment.
#include "server/flags.h"

#include <map>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "common/command_line.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/trainer/flags.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

Surroundings Around(std::map<std::string, std::string> variables) {
  return {.variable = [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
            const auto at = variables.find(name);
            if (at == variables.end() || at->second.empty()) return std::nullopt;
            return at->second;
          },
          .host = "laptop",
          .full_host = "laptop"};
}

struct Parsed {
  bool ok = false;
  int exit_code = 0;
  std::string error;
};

Parsed ParseServer(std::vector<const char*> arguments, std::map<std::string, std::string> variables,
                   ServerFlags& flags) {
  arguments.insert(arguments.begin(), "program");
  Parsed parsed;
  testing::internal::CaptureStderr();
  parsed.ok = ParseServerFlags(static_cast<int>(arguments.size()), arguments.data(), Around(std::move(variables)),
                               flags, parsed.exit_code);
  parsed.error = testing::internal::GetCapturedStderr();
  return parsed;
}

Parsed ParseWorker(std::vector<const char*> arguments, std::map<std::string, std::string> variables,
                   trainer::WorkerFlags& flags) {
  arguments.insert(arguments.begin(), "program");
  variables.try_emplace("LOCKSTEP_ENDPOINT", "shard-0");
  variables.try_emplace("LOCKSTEP_DATASET", "digits");
  Parsed parsed;
  testing::internal::CaptureStderr();
  parsed.ok = trainer::ParseWorkerFlags(static_cast<int>(arguments.size()), arguments.data(),
                                        Around(std::move(variables)), flags, parsed.exit_code);
  parsed.error = testing::internal::GetCapturedStderr();
  return parsed;
}

TEST(ServerFlags, Variables_ConfigureEverything) {
  ServerFlags flags;
  const Parsed parsed = ParseServer({},
                                    {{"LOCKSTEP_LR", "0.5"},
                                     {"LOCKSTEP_OPTIMIZER", "adam"},
                                     {"LOCKSTEP_LEASE", "7s"},
                                     {"LOCKSTEP_DATA_DIR", "/data"},
                                     {"LOCKSTEP_CHECKSUMS", "false"},
                                     {"LOCKSTEP_FSYNC", "round"},
                                     {"LOCKSTEP_WORKERS", "5"},
                                     {"LOCKSTEP_LOG_LEVEL", "debug"}},
                                    flags);
  ASSERT_TRUE(parsed.ok) << parsed.error;
  EXPECT_EQ(flags.optimizer.lr(), 0.5);
  EXPECT_EQ(flags.optimizer.optimizer(), "adam");
  EXPECT_EQ(flags.lease, absl::Seconds(7));
  EXPECT_EQ(flags.data_dir, "/data");
  EXPECT_FALSE(flags.checksums);
  EXPECT_TRUE(flags.sync_rounds);
  EXPECT_EQ(flags.place.workers, 5u);
  EXPECT_EQ(flags.log_level, "debug");
}

TEST(ServerFlags, Flag_WinsOverItsVariable) {
  ServerFlags flags;
  const Parsed parsed = ParseServer({"--lr=0.25", "--checksums", "--data-dir", "/flag", "--workers", "2"},
                                    {{"LOCKSTEP_LR", "rubbish"},
                                     {"LOCKSTEP_CHECKSUMS", "false"},
                                     {"LOCKSTEP_DATA_DIR", "/variable"},
                                     {"LOCKSTEP_WORKERS", "5"}},
                                    flags);
  ASSERT_TRUE(parsed.ok) << parsed.error;
  EXPECT_EQ(flags.optimizer.lr(), 0.25);
  EXPECT_TRUE(flags.checksums);
  EXPECT_EQ(flags.data_dir, "/flag");
  EXPECT_EQ(flags.place.workers, 2u);
}

TEST(ServerFlags, RubbishInAVariable_NamesItAndIsAConfigurationError) {
  for (const auto& [variable, value] : std::map<std::string, std::string>{{"LOCKSTEP_LR", "fast"},
                                                                          {"LOCKSTEP_LEASE", "never"},
                                                                          {"LOCKSTEP_DURABILITY", "paper"},
                                                                          {"LOCKSTEP_CONNECTIONS", "0"},
                                                                          {"LOCKSTEP_SHARD_INDEX", "x"}}) {
    ServerFlags flags;
    const Parsed parsed = ParseServer({"--data-dir", "/data"}, {{variable, value}}, flags);
    EXPECT_FALSE(parsed.ok) << variable;
    EXPECT_EQ(parsed.exit_code, 64) << variable;
    EXPECT_THAT(parsed.error, HasSubstr(variable));
  }
}

TEST(ServerFlags, FlagsThatWouldHaveNoEffect_AreRefusedWithWhatIsMissing) {
  const auto refused = [](std::vector<const char*> flags) {
    flags.insert(flags.end(), {"--workers=3", "--durability=memory"});
    ServerFlags parsed;
    const Parsed outcome = ParseServer(flags, {}, parsed);
    EXPECT_EQ(outcome.ok, outcome.error.empty());
    return outcome.error;
  };
  EXPECT_THAT(refused({"--contributors=2"}), HasSubstr("--contributors has no effect under --policy all"));
  EXPECT_THAT(refused({"--deadline=1s"}), HasSubstr("--deadline has no effect without --policy deadline"));
  EXPECT_THAT(refused({"--policy=quorum", "--contributors=2", "--deadline=1s"}), HasSubstr("--deadline has no effect"));
  EXPECT_THAT(refused({"--replace-timeout=1s"}), HasSubstr("--replace-timeout has no effect without --min-workers"));
  EXPECT_EQ(refused({"--policy=quorum", "--contributors=2"}), "");
  EXPECT_THAT(refused({"--policy=quorum", "--contributors=4"}), HasSubstr("expected 1 to 3 contributors"));
  EXPECT_EQ(refused({"--policy=quorum", "--contributors=4", "--max-workers=5"}), "");
  EXPECT_EQ(refused({"--policy=deadline", "--contributors=1", "--deadline=1s"}), "");
  EXPECT_EQ(refused({"--replace-timeout=1s", "--min-workers=2"}), "");
  EXPECT_EQ(refused({"--replace-timeout=1s", "--max-workers=4"}), "");
  EXPECT_EQ(refused({}), "");
}

TEST(ServerFlags, UnknownOnes_AreNamedInTheirOrderWithTheProgram) {
  ServerFlags flags;
  const Parsed parsed = ParseServer({"--data-dir", "/data", "--frist", "1", "--scond"}, {}, flags);
  EXPECT_EQ(parsed.exit_code, 64);
  EXPECT_THAT(parsed.error, HasSubstr("lockstep-server: not expected: --frist 1 --scond\n"));
}

TEST(WorkerFlags, Variables_ConfigureEverything) {
  trainer::WorkerFlags flags;
  const Parsed parsed =
      ParseWorker({}, {{"LOCKSTEP_BATCH", "8"}, {"LOCKSTEP_ROUNDS", "30"}, {"LOCKSTEP_CONNECT_TIMEOUT", "10m"}}, flags);
  ASSERT_TRUE(parsed.ok) << parsed.error;
  EXPECT_EQ(flags.batch, 8u);
  EXPECT_EQ(flags.rounds, 30u);
  EXPECT_EQ(flags.join_timeout, absl::Minutes(10));
  EXPECT_EQ(flags.place.endpoint, "shard-0:7700");
  EXPECT_EQ(flags.place.name, "laptop");
}

TEST(WorkerFlags, FlagThatExcludesAVariables_Wins) {
  trainer::WorkerFlags flags;
  const Parsed parsed = ParseWorker({"--epochs", "2"}, {{"LOCKSTEP_ROUNDS", "30"}}, flags);
  ASSERT_TRUE(parsed.ok) << parsed.error;
  EXPECT_EQ(flags.epochs, 2u);
  EXPECT_FALSE(flags.rounds);
}

TEST(WorkerFlags, VariablesThatExcludeEachOther_AreAnError) {
  trainer::WorkerFlags flags;
  EXPECT_EQ(ParseWorker({}, {{"LOCKSTEP_ROUNDS", "30"}, {"LOCKSTEP_EPOCHS", "2"}}, flags).exit_code, 64);
}

// Services named lockstep, lockstep-shards, lockstep-worker ... put LOCKSTEP_PORT=tcp://... and so on into every pod.
TEST(Flags, NoVariable_IsOneThatKubernetesSetsForAService) {
  const std::regex link(R"(.*_(PORT|SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_.*)?))");
  std::vector<std::string> flags = ServerFlagsByVariable();
  ASSERT_GT(flags.size(), 20u);
  const std::vector<std::string> more = trainer::WorkerFlagsByVariable();
  ASSERT_GT(more.size(), 10u);
  flags.insert(flags.end(), more.begin(), more.end());
  EXPECT_TRUE(std::regex_match("LOCKSTEP_SHARDS_PORT_7700_TCP_ADDR", link));
  for (const std::string& flag : flags) EXPECT_FALSE(std::regex_match(VariableOf(flag), link)) << flag;
}

}  // namespace
}  // namespace lockstep
