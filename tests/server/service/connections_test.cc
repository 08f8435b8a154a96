#include "server/service/connections.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace lockstep::service {
namespace {

using ::testing::HasSubstr;

Attachment At(uint32_t connection, uint64_t incarnation = 5, uint64_t attempt = 1) {
  return {.who = {Rank(2), Incarnation(incarnation)}, .connection = connection, .attempt = attempt};
}

std::shared_ptr<ExchangeStream> StreamOf(const Attachment& attachment) {
  auto stream = std::make_shared<ExchangeStream>(nullptr);
  EXPECT_TRUE(Connections::Introduce(*stream, attachment).ok());
  return stream;
}

TEST(ConnectionsTest, Introduce_Again_IsTheSame) {
  const auto stream = StreamOf(At(1));
  EXPECT_TRUE(Connections::Introduce(*stream, At(1)).ok());
}

TEST(ConnectionsTest, Introduce_AsAnother_IsRefusedWithBoth) {
  for (const Attachment& other : {At(0), At(1, 6), At(1, 5, 2)}) {
    const auto stream = StreamOf(At(1));
    const absl::Status status = Connections::Introduce(*stream, other);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("attached as rank 2, incarnation 5, connection 1, attempt 1; expected the same"));
    EXPECT_EQ(*stream->attachment, At(1)) << "the first one stays";
  }
}

TEST(ConnectionsTest, Place_NewerStream_TakesTheOlderOnesPlace) {
  Connections connections;
  const auto older = StreamOf(At(1));
  const auto newer = StreamOf(At(1, 5, 2));
  connections.Place(older);
  EXPECT_FALSE(connections.IsOvertaken(*newer));
  connections.Place(newer);
  EXPECT_TRUE(connections.IsOvertaken(*older));
  EXPECT_EQ(connections.size(), 1u);
  EXPECT_FALSE(connections.Remove(*older)) << "its end must not take the newer one away";
  EXPECT_EQ(connections.Find(Rank(2), 1), newer);
  EXPECT_TRUE(connections.Remove(*newer));
  EXPECT_EQ(connections.Find(Rank(2), 1), nullptr);
}

TEST(ConnectionsTest, Remove_StreamWithoutAttach_IsNothing) {
  Connections connections;
  EXPECT_FALSE(connections.Remove(ExchangeStream(nullptr)));
}

}  // namespace
}  // namespace lockstep::service
