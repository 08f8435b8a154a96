#include "server/storage/buffer_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <thread>

#include "tests/testing/seeds.h"

namespace lockstep::storage {
namespace {

using testing::ForEachSeed;
using testing::Random;
using testing::Uniform;

TEST(BufferPoolTest, Buffer_Taken_HasItsSizeOnACacheLine) {
  const auto pool = BufferPool::Create();
  for (const size_t elements : {1, 7, 1000, 40000}) {
    const BufferRef buffer = pool->Take(elements);
    EXPECT_EQ(buffer->values().size(), elements);
    EXPECT_EQ(buffer->bytes(), elements * sizeof(float));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->values().data()) % 64, 0u);
  }
}

TEST(BufferPoolTest, Buffer_LetGoOf_IsUsedAgain) {
  const auto pool = BufferPool::Create();
  BufferRef buffer = pool->Take(100);
  const float* const memory = buffer->values().data();
  buffer.reset();
  EXPECT_EQ(pool->Take(100)->values().data(), memory);
}

TEST(BufferPoolTest, Buffer_OfAnotherSize_IsAnother) {
  const auto pool = BufferPool::Create();
  pool->Take(100).reset();
  EXPECT_EQ(pool->Take(101)->values().size(), 101u);
}

TEST(BufferPoolTest, Buffer_StillHeld_IsNeverHandedOutAgain) {
  ForEachSeed(50, [](Random& random) {
    const auto pool = BufferPool::Create();
    std::vector<BufferRef> held;
    for (int step = 0; step < 200; ++step) {
      if (!held.empty() && random() % 2 == 0) {
        held.erase(held.begin() + static_cast<ptrdiff_t>(Uniform(random, 0, held.size() - 1)));
      } else {
        held.push_back(pool->Take(Uniform(random, 1, 3)));
      }
      std::set<const float*> distinct;
      for (const BufferRef& buffer : held) distinct.insert(buffer->values().data());
      ASSERT_EQ(distinct.size(), held.size());
    }
  });
}

TEST(BufferPoolTest, Buffer_WithASecondHolder_StaysOut) {
  const auto pool = BufferPool::Create();
  BufferRef buffer = pool->Take(10);
  const BufferRef second = buffer;
  buffer.reset();
  EXPECT_NE(pool->Take(10)->values().data(), second->values().data());
}

TEST(BufferPoolTest, Buffer_Recycled_HasNoChecksum) {
  const auto pool = BufferPool::Create();
  BufferRef buffer = pool->Take(10);
  const float* const memory = buffer->values().data();
  EXPECT_FALSE(buffer->checksum.has_value());
  buffer->checksum = 42;
  buffer.reset();
  buffer = pool->Take(10);
  ASSERT_EQ(buffer->values().data(), memory);
  EXPECT_FALSE(buffer->checksum.has_value());
}

TEST(BufferPoolTest, Buffer_OutlivesItsPool) {
  auto pool = BufferPool::Create();
  const BufferRef buffer = pool->Take(10);
  pool.reset();
  std::fill(buffer->values().begin(), buffer->values().end(), 1.0f);
  EXPECT_EQ(buffer->values()[9], 1.0f);
}

TEST(BufferPoolTest, Threads_TakingAndReturning_NeverShareABuffer) {
  const auto pool = BufferPool::Create();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, mark = static_cast<float>(t)] {
      for (int i = 0; i < 2000; ++i) {
        const BufferRef buffer = pool->Take(64);
        std::fill(buffer->values().begin(), buffer->values().end(), mark);
        for (float value : buffer->values()) ASSERT_EQ(value, mark);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace lockstep::storage
