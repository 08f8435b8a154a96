// Streams that others use before they are open.
#include "worker/client/streams.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "tests/worker/client/fake_run.h"

namespace lockstep::testing {
namespace {

using client::DataStream;

class StreamsTest : public ::testing::Test, public DataStream::Owner {
 protected:
  std::shared_ptr<DataStream> Make() { return std::make_shared<DataStream>(this, ShardIndex(0), 0, run_.address()); }
  static void Queue(DataStream& stream, const std::string& text) {
    stream.Enqueue([text] {
      const grpc::Slice slice(text);
      return std::make_optional(grpc::ByteBuffer(&slice, 1));
    });
  }
  int AwaitClosed(int count) {
    MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_ >= count; };
    mutex_.Await(absl::Condition(&there));
    return closed_;
  }
  grpc::StatusCode code() {
    MutexLock lock(&mutex_);
    return code_;
  }

  FakeRun run_{{}};

 private:
  void OnData(DataStream&, grpc::ByteBuffer&) override {}
  void OnDataClosed(const DataStream&, const grpc::Status& status) override {
    MutexLock lock(&mutex_);
    ++closed_;
    code_ = status.error_code();
  }

  Mutex mutex_;
  int closed_ ABSL_GUARDED_BY(mutex_) = 0;
  grpc::StatusCode code_ ABSL_GUARDED_BY(mutex_) = grpc::StatusCode::OK;
};

TEST_F(StreamsTest, Messages_FlushedBeforeItIsOpen_FollowTheGreeting) {
  const auto stream = Make();
  Queue(*stream, "greeting");
  Queue(*stream, "second");
  stream->Flush();
  stream->Open();
  Queue(*stream, "third");
  stream->Flush();
  ASSERT_TRUE(run_.shard(0)->AwaitHeard(3));
  EXPECT_EQ(run_.shard(0)->heard(), (std::vector<std::string>{"greeting", "second", "third"}));
  stream->Cancel();
  EXPECT_EQ(AwaitClosed(1), 1);
}

TEST_F(StreamsTest, Messages_FlushedWhileItOpens_AllArriveBehindTheGreeting) {
  constexpr int kStreams = 50;
  constexpr size_t kMessages = 20;
  for (int i = 0; i < kStreams; ++i) {
    const auto stream = Make();
    Queue(*stream, "greeting");
    std::thread other([&] {
      for (size_t m = 0; m < kMessages; ++m) {
        Queue(*stream, absl::StrCat(m));
        stream->Flush();
      }
    });
    stream->Open();
    other.join();
    const auto at_shard = run_.shard(static_cast<size_t>(i));
    ASSERT_TRUE(at_shard->AwaitHeard(1 + kMessages)) << "stream " << i;
    EXPECT_EQ(at_shard->heard()[0], "greeting");
    stream->Cancel();
    AwaitClosed(i + 1);
  }
}

TEST_F(StreamsTest, Cancel_BeforeItIsOpen_EndsItOnce) {
  const auto stream = Make();
  Queue(*stream, "greeting");
  stream->Cancel();
  stream->Open();
  EXPECT_EQ(AwaitClosed(1), 1);
  EXPECT_EQ(code(), grpc::StatusCode::CANCELLED);
  stream->Flush();
}

}  // namespace
}  // namespace lockstep::testing
