#include "server/service/memory_bound.h"

#include <gtest/gtest.h>

#include <string>

#include "server/service/readers.h"

namespace lockstep::service {
namespace {

constexpr uint64_t kMega = 1'000'000;

MemoryNeeds Needs() {
  return {.parameter_bytes = 100 * kMega,
          .largest_block_bytes = 1 * kMega,
          .state_slots = 2,
          .workers = 8,
          .connections = 2,
          .credit_bytes = 3 * kMega,
          .checkpoints = true};
}

TEST(MemoryBoundTest, EveryTerm_IsThatOfTheFormula) {
  const MemoryBound bound = BoundOf(Needs());
  EXPECT_EQ(bound.versions, 200 * kMega);
  EXPECT_EQ(bound.state, 200 * kMega);
  EXPECT_EQ(bound.gradient, 100 * kMega);
  EXPECT_EQ(bound.checkpoint, 400 * kMega);
  EXPECT_EQ(bound.readers, Readers::kMostVersions * 100 * kMega);
  EXPECT_EQ(bound.contributions, 8 * 2 * 3 * kMega);
  EXPECT_EQ(bound.group_sums, 0u);
  EXPECT_EQ(bound.connections, uint64_t{8 * 2 * 8} << 20);
  EXPECT_EQ(bound.total(), bound.versions + bound.state + bound.gradient + bound.checkpoint + bound.slow_streams +
                               bound.readers + bound.contributions + bound.connections + bound.process);
}

TEST(MemoryBoundTest, MoreThanEightWorkers_SumsOfGroupsAreCounted) {
  MemoryNeeds needs = Needs();
  needs.workers = 17;
  EXPECT_EQ(BoundOf(needs).group_sums, 3 * 2 * 3 * kMega);
}

// One block may always be under way; and nobody is further ahead than by the whole contribution.
TEST(MemoryBoundTest, Credit_IsAtLeastABlockAndAtMostTheContribution) {
  MemoryNeeds needs = Needs();
  needs.credit_bytes = 1;
  EXPECT_EQ(CreditOfWorker(needs), 2 * kMega);
  EXPECT_EQ(BoundOf(needs).contributions, 8 * 2 * kMega);
  needs.credit_bytes = kUnlimited;
  EXPECT_EQ(BoundOf(needs).contributions, 8 * 100 * kMega);
}

TEST(MemoryBoundTest, Machine_OneByteTooSmall_IsRefusedWithTheArithmetic) {
  MemoryNeeds needs = Needs();
  needs.state_slots = 0;
  const MemoryBound bound = BoundOf(needs);
  EXPECT_TRUE(CheckFits(bound, bound.total()).ok());
  const absl::Status status = CheckFits(bound, bound.total() - 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "the model does not fit: this shard may need 882.9 MB = 200.0 MB versions + 100.0 MB checkpoint + 100.0 MB "
            "slow streams + 200.0 MB readers + 48.0 MB contributions + 134.2 MB connections + 100.7 MB process, but "
            "has 882.9 MB; use more "
            "shards, or give it more memory");
}

}  // namespace
}  // namespace lockstep::service
