#include "worker/client/version_choice.h"

#include <gtest/gtest.h>

namespace lockstep::client {
namespace {

TEST(VersionChoice, TrainingStandsStill_TakesWhatEveryShardHas) {
  VersionChoice choice;
  choice.Seen(11, 12);
  EXPECT_EQ(choice.version(), 11u);
}

TEST(VersionChoice, TooLate_GoesFurtherAheadEachTime) {
  VersionChoice choice;
  choice.Seen(10, 10);
  choice.TooLate();
  EXPECT_EQ(choice.version(), 12u);
  choice.TooLate();
  EXPECT_EQ(choice.version(), 14u);
  choice.Told(100);
  choice.TooLate();
  EXPECT_EQ(choice.version(), 108u);
}

TEST(VersionChoice, NeverCame_StartsAgainFromWhatIsThere) {
  VersionChoice choice;
  choice.Seen(10, 10);
  choice.TooLate();
  choice.NeverCame();
  choice.Seen(11, 11);
  EXPECT_EQ(choice.version(), 11u);
}

}  // namespace
}  // namespace lockstep::client
