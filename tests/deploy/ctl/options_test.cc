#include "deploy/ctl/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace lockstep::ctl {
namespace {

using ::testing::HasSubstr;

std::variant<Options, ExitCode> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "lockstepctl");
  return ParseOptions(static_cast<int>(arguments.size()), arguments.data());
}

Options Good(const std::vector<const char*>& arguments) {
  auto parsed = Parse(arguments);
  EXPECT_TRUE(std::holds_alternative<Options>(parsed)) << arguments.front();
  return std::holds_alternative<Options>(parsed) ? std::get<Options>(parsed) : Options();
}

ExitCode Bad(const std::vector<const char*>& arguments) {
  auto parsed = Parse(arguments);
  return std::holds_alternative<ExitCode>(parsed) ? std::get<ExitCode>(parsed) : kOther;
}

class OptionsTest : public testing::Test {
 protected:
  void SetUp() override { unsetenv("LOCKSTEP_ENDPOINT"); }
};

TEST_F(OptionsTest, GlobalOptions_WorkBeforeAndAfterTheCommand) {
  const Options before = Good({"--endpoint", "h:1", "-o", "json", "--timeout", "200ms", "status"});
  const Options after = Good({"status", "--endpoint", "h:1", "-o", "json", "--timeout", "200ms"});
  for (const Options& options : {before, after}) {
    EXPECT_EQ(options.endpoint, "h:1");
    EXPECT_EQ(options.output, Output::kJson);
    EXPECT_EQ(options.timeout, absl::Milliseconds(200));
    EXPECT_FALSE(options.watch);
  }
}

TEST_F(OptionsTest, Environment_GivesTheEndpoint) {
  setenv("LOCKSTEP_ENDPOINT", "host:7", 1);
  EXPECT_EQ(Good({"workers"}).endpoint, "host:7");
}

TEST_F(OptionsTest, NoEndpoint_IsTheShardOfThisPod) {
  EXPECT_EQ(Good({"workers"}).endpoint, "127.0.0.1:7700");
  EXPECT_TRUE(Good({"workers"}).nobody_gave_endpoint);
  EXPECT_FALSE(Good({"workers", "--endpoint", "127.0.0.1:7700"}).nobody_gave_endpoint);
}

TEST_F(OptionsTest, Watch_TakesAnIntervalOrNone) {
  EXPECT_EQ(Good({"status", "--endpoint", "h:1", "--watch"}).watch, absl::Seconds(1));
  EXPECT_EQ(Good({"--endpoint", "h:1", "--watch", "status"}).watch, absl::Seconds(1));
  EXPECT_EQ(Good({"--endpoint", "h:1", "--watch", "3", "status"}).watch, absl::Seconds(3));
}

TEST_F(OptionsTest, Commands_TakeTheirArguments) {
  EXPECT_EQ(Good({"wait", "--version", "7", "--endpoint", "h:1"}).version, 7u);
  EXPECT_EQ(Good({"evict", "3", "--endpoint", "h:1"}).rank, 3u);
  EXPECT_EQ(Good({"export", "m.safetensors", "--endpoint", "h:1"}).file, "m.safetensors");
  EXPECT_EQ(Good({"rounds", "-n", "50", "--endpoint", "h:1"}).rounds, 50u);
  EXPECT_EQ(Good({"health", "--live", "--endpoint", "h:1"}).probe, Probe::kLive);
  EXPECT_EQ(Good({"health", "--ready", "--endpoint", "h:1"}).probe, Probe::kReady);
  EXPECT_EQ(Good({"health", "--startup", "--endpoint", "h:1"}).probe, Probe::kStartup);
  EXPECT_EQ(Good({"health", "--endpoint", "h:1"}).probe, Probe::kReady);
}

TEST_F(OptionsTest, FingerprintOfAFile_NeedsNoEndpoint) {
  EXPECT_EQ(Good({"fingerprint", "--file", "/proc/self/cmdline"}).command, Command::kFingerprint);
}

TEST_F(OptionsTest, Help_IsFine) { EXPECT_EQ(Bad({"--help"}), kFine); }

TEST_F(OptionsTest, WrongUsage_Exits64) {
  const std::vector<std::vector<const char*>> wrong = {{"--endpoint", "h:1"},
                                                       {"--endpoint", "h:1", "frobnicate"},
                                                       {"--endpoint", "h:1", "status", "--no-such-flag"},
                                                       {"--endpoint", "h:1", "status", "-o", "yaml"},
                                                       {"--endpoint", "h:1", "status", "--timeout", "soon"},
                                                       {"--endpoint", "h:1", "status", "--timeout", "-3s"},
                                                       {"--endpoint", "h:1", "wait"},
                                                       {"--endpoint", "h:1", "wait", "--version", "x"},
                                                       {"--endpoint", "h:1", "evict"},
                                                       {"--endpoint", "h:1", "evict", "-1"},
                                                       {"--endpoint", "h:1", "health", "--live", "--ready"},
                                                       {"--endpoint", "h:1", "health", "--live", "--startup"},
                                                       {"--endpoint", "h:1", "fingerprint", "--file", "/no/such/file"},
                                                       {"--endpoint", "no sense", "status"}};
  for (const auto& arguments : wrong) EXPECT_EQ(Bad(arguments), kUsage) << arguments.back();
}

TEST_F(OptionsTest, MoreRoundsThanThereAre_AreRefused) {
  EXPECT_EQ(Good({"rounds", "-n", "256", "--endpoint", "h:1"}).rounds, 256u);
  testing::internal::CaptureStderr();
  EXPECT_EQ(Bad({"rounds", "-n", "100000", "--endpoint", "h:1"}), kUsage);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("expected 1 to 256"));
}

TEST_F(OptionsTest, UnknownOptions_AreNamedInTheirOrderWithAGuess) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(Bad({"--endpoint", "h:1", "rounds", "--round", "2"}), kUsage);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("lockstepctl: not expected: --round 2; did you mean --rounds?"));
}

TEST_F(OptionsTest, Help_ExplainsTheColumns) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(Bad({"workers", "--help"}), kFine);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("CAME LAST"));
}

TEST_F(OptionsTest, Watch_WaitsForTheEndpointFile) {
  const std::string path = testing::TempDir() + "/endpoint_to_come";
  testing::internal::CaptureStderr();
  std::thread writer([&path] {
    std::ofstream(path + ".tmp") << "127.0.0.1:7000\n";
    std::rename((path + ".tmp").c_str(), path.c_str());
  });
  EXPECT_EQ(Good({"status", "--watch", "--endpoint", path.c_str()}).endpoint, "127.0.0.1:7000");
  writer.join();
  testing::internal::GetCapturedStderr();  // says that it waits, unless the file came first
}

TEST_F(OptionsTest, EndpointFileThatIsNotThere_IsUnreachable) {
  EXPECT_EQ(Bad({"--endpoint", "no/such/file", "status"}), kUnreachable);
}

}  // namespace
}  // namespace lockstep::ctl
