#include "common/exit_codes.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(ExitCode, OfARun_TellsWhetherToStartAgain) {
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), ExitCode::kDone);
  EXPECT_EQ(ExitCodeFor(absl::InvalidArgumentError("")), ExitCode::kUsage);
  EXPECT_EQ(ExitCodeFor(absl::PermissionDeniedError("")), ExitCode::kFenced);
  EXPECT_EQ(ExitCodeFor(absl::InternalError("")), ExitCode::kInternal);
  for (const absl::Status& status : {absl::UnavailableError(""), absl::AbortedError(""), absl::DataLossError(""),
                                     absl::ResourceExhaustedError(""), absl::DeadlineExceededError("")}) {
    EXPECT_EQ(ExitCodeFor(status), ExitCode::kRetry) << status;
  }
}

TEST(ExitCode, OfInputFiles_NeverAsksForARestart) {
  EXPECT_EQ(ExitCodeForInput(absl::DataLossError("")), ExitCode::kDamaged);
  EXPECT_EQ(ExitCodeForInput(absl::NotFoundError("")), ExitCode::kUsage);
  EXPECT_EQ(ExitCodeForInput(absl::PermissionDeniedError("")), ExitCode::kUsage);
}

}  // namespace
}  // namespace lockstep
