// Whose memory it is, and which call may begin: without a network.
#include "worker/client/calls.h"

#include <gtest/gtest.h>

#include <memory>

namespace lockstep::client {
namespace {

std::shared_ptr<Call> AsyncCall() {
  auto call = std::make_shared<Call>();
  call->done = [](const absl::StatusOr<RoundResult>&) {};
  return call;
}

TEST(CallsTest, LateCall_ItsMemoryIsLent_IsNotGivenOutUntilItIsBack) {
  Calls calls;
  EXPECT_FALSE(calls.HasLate());
  EXPECT_EQ(calls.TakeLate(/*anyway=*/false), nullptr);
  const std::shared_ptr<Call> call = AsyncCall();
  ASSERT_TRUE(call->memory->TryLend());
  calls.DeliverLater(call);
  EXPECT_EQ(calls.TakeLate(/*anyway=*/false), nullptr) << "the timekeeper would wait for the memory, and beat no more";
  EXPECT_TRUE(calls.HasLate());
  EXPECT_FALSE(call->memory->TryLend()) << "the memory of a call that is over must not be lent again";
  call->memory->Return();
  EXPECT_EQ(calls.TakeLate(/*anyway=*/false), call);
  EXPECT_EQ(calls.TakeLate(/*anyway=*/true), nullptr);
}

TEST(CallsTest, LateCall_CallerMayWait_IsGivenOutOnce) {
  Calls calls;
  const std::shared_ptr<Call> call = AsyncCall();
  ASSERT_TRUE(call->memory->TryLend());
  calls.DeliverLater(call);
  EXPECT_EQ(calls.TakeLate(/*anyway=*/true), call);
  EXPECT_FALSE(calls.HasLate());
}

TEST(CallsTest, AsyncCall_SettledButNotTold_IsStillUnderWay) {
  Calls calls;
  const std::shared_ptr<Call> call = AsyncCall();
  calls.Begin(call);
  Todo todo;
  calls.Settle(RoundResult{.version = 1, .participants = {0}}, todo);
  EXPECT_EQ(todo.deliver, call);
  EXPECT_EQ(calls.CheckReady(/*leaving=*/false).code(), absl::StatusCode::kFailedPrecondition);
  call->told = true;
  EXPECT_TRUE(calls.CheckReady(/*leaving=*/false).ok());
  EXPECT_FALSE(Calls::IsOver(call.get())) << "Wait returns when `done` has";
  call->delivered = true;
  EXPECT_TRUE(Calls::IsOver(call.get()));
}

}  // namespace
}  // namespace lockstep::client
