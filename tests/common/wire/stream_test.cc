// ServerStream and ClientStream against each other, over a real server on loopback.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "common/wire/channel.h"
#include "common/wire/client_stream.h"
#include "common/wire/server_stream.h"

namespace lockstep::wire {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

grpc::ByteBuffer Message(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

std::string Text(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(message.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices) text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return text;
}

// What one end of a stream has seen. Thread-safe.
class Journal {
 public:
  void Add(std::string text) {
    MutexLock lock(&mutex_);
    texts_.push_back(std::move(text));
  }
  void Close(grpc::Status status) {
    MutexLock lock(&mutex_);
    ++closed_;
    status_ = std::move(status);
  }
  std::vector<std::string> texts() const {
    MutexLock lock(&mutex_);
    return texts_;
  }
  int closed() const {
    MutexLock lock(&mutex_);
    return closed_;
  }
  grpc::Status status() const {
    MutexLock lock(&mutex_);
    return status_;
  }
  bool AwaitClosed() const {
    MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(
                                       +[](const int* closed) { return *closed > 0; }, &closed_),
                                   kPatience);
  }
  bool AwaitTexts(size_t count) const {
    MutexLock lock(&mutex_);
    const auto there = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return texts_.size() >= count; };
    return mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }

 private:
  mutable Mutex mutex_;
  std::vector<std::string> texts_ ABSL_GUARDED_BY(mutex_);
  int closed_ ABSL_GUARDED_BY(mutex_) = 0;
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
};

class TestServerStream : public ServerStream<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  using Handler = std::function<void(TestServerStream&, const std::string&)>;
  TestServerStream(std::shared_ptr<Journal> journal, Handler handler)
      : journal_(std::move(journal)), handler_(std::move(handler)) {}

 private:
  void OnMessage(grpc::ByteBuffer& message) override {
    const std::string text = Text(message);
    journal_->Add(text);
    handler_(*this, text);
  }
  void OnClosed() override { journal_->Close(grpc::Status::OK); }

  const std::shared_ptr<Journal> journal_;
  const Handler handler_;
};

class TestClientStream : public ClientStream<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // `next` is called after each message, and holds the next one up.
  TestClientStream(const std::shared_ptr<grpc::Channel>& channel, std::shared_ptr<Journal> journal,
                   std::function<void()> next)
      : journal_(std::move(journal)), next_(std::move(next)), stub_(channel) {
    stub_.PrepareBidiStreamingCall(&context(), "/test/Stream", {}, this);
  }

 private:
  void OnMessage(grpc::ByteBuffer& message) override {
    journal_->Add(Text(message));
    next_();
  }
  void OnClosed(const grpc::Status& status) override { journal_->Close(status); }

  const std::shared_ptr<Journal> journal_;
  const std::function<void()> next_;
  grpc::GenericStub stub_;
};

// One server, every call of which is a TestServerStream.
class StreamTest : public ::testing::Test, public grpc::CallbackGenericService {
 protected:
  void StartServer(TestServerStream::Handler handler) {
    handler_ = std::move(handler);
    grpc::ServerBuilder builder;
    ConfigureServer(builder);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    address_ = absl::StrCat("127.0.0.1:", port);
  }
  void TearDown() override {
    if (server_ != nullptr) StopServer();
  }
  void StopServer() {
    server_->Shutdown(absl::ToChronoTime(absl::Now()));
    server_.reset();
  }
  std::shared_ptr<TestClientStream> Connect() {
    return Connect(DataChannel(address_), [] {});
  }
  std::shared_ptr<TestClientStream> Connect(const std::shared_ptr<grpc::Channel>& channel, std::function<void()> next) {
    auto stream = std::make_shared<TestClientStream>(channel, at_client_, std::move(next));
    stream->Start();
    return stream;
  }
  // Of its stream no more than 64 KB are under way to a client that does not read.
  std::shared_ptr<grpc::Channel> NarrowChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65536);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  }
  std::weak_ptr<TestServerStream> last() {
    MutexLock lock(&mutex_);
    return last_;
  }

  const std::shared_ptr<Journal> at_client_ = std::make_shared<Journal>();
  const std::shared_ptr<Journal> at_server_ = std::make_shared<Journal>();

 private:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    auto stream = std::make_shared<TestServerStream>(at_server_, handler_);
    {
      MutexLock lock(&mutex_);
      last_ = stream;
    }
    return stream->Open();
  }

  TestServerStream::Handler handler_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  Mutex mutex_;
  std::weak_ptr<TestServerStream> last_ ABSL_GUARDED_BY(mutex_);
};

std::vector<std::string> Numbers(size_t count) {
  std::vector<std::string> numbers;
  for (size_t i = 0; i < count; ++i) numbers.push_back(absl::StrCat(i));
  return numbers;
}

bool AwaitExpired(const std::weak_ptr<void>& object) {
  for (int attempt = 0; attempt < 3000 && !object.expired(); ++attempt) absl::SleepFor(absl::Milliseconds(10));
  return object.expired();
}

TEST_F(StreamTest, Messages_ManyBothWays_KeepTheirOrder) {
  StartServer([](TestServerStream& stream, const std::string& text) {
    if (text == "end") return stream.Close(grpc::Status::OK, /*flush=*/true);
    stream.Send(Message(text));
  });
  const auto client = Connect();
  const std::vector<std::string> numbers = Numbers(5000);
  for (const std::string& number : numbers) client->Send(Message(number));
  client->Send(Message("end"));
  ASSERT_TRUE(at_client_->AwaitClosed());
  EXPECT_TRUE(at_client_->status().ok()) << at_client_->status().error_message();
  EXPECT_EQ(at_client_->texts(), numbers);
  ASSERT_TRUE(at_server_->AwaitClosed());
  EXPECT_EQ(at_server_->texts().size(), numbers.size() + 1);
}

TEST_F(StreamTest, Messages_OfManyThreads_KeepEachThreadsOrder) {
  StartServer([](TestServerStream& stream, const std::string& text) { stream.Send(Message(text)); });
  const auto client = Connect();
  constexpr size_t kThreads = 4;
  constexpr size_t kEach = 500;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < kEach; ++i) client->Send(Message(absl::StrCat(t * kEach + i)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(at_client_->AwaitTexts(kThreads * kEach));
  client->Cancel();
  ASSERT_TRUE(at_client_->AwaitClosed());
  std::vector<size_t> next(kThreads, 0);
  for (const std::string& text : at_client_->texts()) {
    size_t number = 0;
    ASSERT_TRUE(absl::SimpleAtoi(text, &number));
    ASSERT_EQ(number % kEach, next[number / kEach]++);
  }
}

TEST_F(StreamTest, Close_WithFlush_DeliversAllThenTheStatus) {
  StartServer([](TestServerStream& stream, const std::string&) {
    for (const std::string& number : Numbers(1000)) stream.Send(Message(number));
    stream.Close({grpc::StatusCode::ABORTED, "over"}, /*flush=*/true);
    stream.Send(Message("too late"));
    stream.Close(grpc::Status::OK);
  });
  const auto client = Connect();
  client->Send(Message("go"));
  ASSERT_TRUE(at_client_->AwaitClosed());
  EXPECT_EQ(at_client_->status().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(at_client_->status().error_message(), "over");
  EXPECT_EQ(at_client_->texts(), Numbers(1000));
}

TEST_F(StreamTest, Close_WithoutFlush_DropsWhatWaitsAndSaysTheStatus) {
  const std::string padding(200'000, ' ');  // too much for one write to take all
  StartServer([&](TestServerStream& stream, const std::string&) {
    for (const std::string& number : Numbers(1000)) stream.Send(Message(number + padding));
    stream.Close({grpc::StatusCode::INVALID_ARGUMENT, "no"});
  });
  const auto client = Connect();
  client->Send(Message("go"));
  ASSERT_TRUE(at_client_->AwaitClosed());
  EXPECT_EQ(at_client_->status().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const std::vector<std::string> texts = at_client_->texts();
  EXPECT_LT(texts.size(), 1000u);
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(texts[i], absl::StrCat(i) + padding);
}

TEST_F(StreamTest, Close_WhileThePeerStillWrites_TellsItTheStatus) {
  StartServer([](TestServerStream& stream, const std::string& text) {
    if (text == "5") stream.Close({grpc::StatusCode::DATA_LOSS, "damaged"});
  });
  const auto client = Connect();
  const std::string large(1 << 20, 'x');
  client->Send(Message("5"));
  for (int i = 0; i < 50; ++i) client->Send(Message(large));
  ASSERT_TRUE(at_client_->AwaitClosed());
  EXPECT_EQ(at_client_->status().error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_TRUE(at_server_->AwaitClosed());
}

TEST_F(StreamTest, Close_WhileWritesArePending_ReadsOnButHearsNothing) {
  constexpr int kMessages = 16;
  const std::string large(1 << 20, 'x');
  StartServer([&](TestServerStream& stream, const std::string&) {
    for (int i = 0; i < kMessages; ++i) stream.Send(Message(large));
    stream.Close({grpc::StatusCode::DATA_LOSS, "damaged"}, /*flush=*/true);
  });
  absl::Notification all_read;
  const auto client = Connect(NarrowChannel(), [&] { all_read.WaitForNotification(); });
  client->Send(Message("go"));
  // More than fits in between: the last one's turn comes only if the server has read the first ones.
  for (int i = 0; i < 100; ++i) client->Send(Message(large));
  client->Enqueue([&]() -> std::optional<grpc::ByteBuffer> {
    all_read.Notify();
    return std::nullopt;
  });
  client->Flush();
  ASSERT_TRUE(at_client_->AwaitClosed());
  ASSERT_TRUE(at_server_->AwaitClosed());
  EXPECT_EQ(at_client_->status().error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(at_client_->texts().size(), kMessages);
  EXPECT_EQ(at_server_->texts().size(), 1u) << "what came after Close was heard";
}

TEST_F(StreamTest, Client_Vanishes_ServerStreamClosesOnceAndGoes) {
  StartServer([](TestServerStream& stream, const std::string& text) { stream.Send(Message(text)); });
  auto client = Connect();
  client->Send(Message("hello"));
  ASSERT_TRUE(at_client_->AwaitTexts(1));
  const std::weak_ptr<TestServerStream> server_stream = last();
  const std::weak_ptr<TestClientStream> client_stream = client;
  client->Cancel();
  client.reset();
  ASSERT_TRUE(at_client_->AwaitClosed());
  ASSERT_TRUE(at_server_->AwaitClosed());
  EXPECT_EQ(at_client_->status().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(AwaitExpired(server_stream)) << "the server's end outlived OnClosed";
  EXPECT_TRUE(AwaitExpired(client_stream)) << "the client's end outlived OnClosed";
  EXPECT_EQ(at_client_->closed(), 1);
  EXPECT_EQ(at_server_->closed(), 1);
}

TEST_F(StreamTest, Server_Vanishes_ClientIsToldOnce) {
  StartServer([](TestServerStream&, const std::string&) {});
  const auto client = Connect();
  client->Send(Message("hello"));
  ASSERT_TRUE(at_server_->AwaitTexts(1));
  StopServer();
  ASSERT_TRUE(at_client_->AwaitClosed());
  EXPECT_FALSE(at_client_->status().ok());
  client->Send(Message("nobody hears this"));
  EXPECT_EQ(at_client_->closed(), 1);
  EXPECT_EQ(at_server_->closed(), 1);
}

TEST_F(StreamTest, Server_Unreachable_ClientIsToldUnavailable) {
  const auto stream = Connect(DataChannel("127.0.0.1:1"), [] {});
  stream->Send(Message("hello"));
  ASSERT_TRUE(at_client_->AwaitClosed());
  EXPECT_EQ(at_client_->status().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(StreamTest, Sends_AfterTheEnd_AreDropped) {
  std::shared_ptr<TestServerStream> server_stream;
  StartServer([&](TestServerStream& stream, const std::string&) {
    server_stream = std::static_pointer_cast<TestServerStream>(stream.shared_from_this());
    stream.Close(grpc::Status::OK);
  });
  const auto client = Connect();
  client->Send(Message("hello"));
  ASSERT_TRUE(at_client_->AwaitClosed());
  ASSERT_TRUE(at_server_->AwaitClosed());
  client->Send(Message("late"));
  ASSERT_NE(server_stream, nullptr);
  server_stream->Send(Message("late"));
  server_stream->Close(grpc::Status::CANCELLED);
  EXPECT_EQ(at_server_->texts(), std::vector<std::string>{"hello"});
}

TEST_F(StreamTest, Makers_WithNothingToSay_AreSkipped) {
  StartServer([](TestServerStream&, const std::string&) {});
  const auto client = Connect();
  client->Enqueue([] { return std::make_optional(Message("1")); });
  client->Enqueue([]() -> std::optional<grpc::ByteBuffer> { return std::nullopt; });
  client->Enqueue([] { return std::make_optional(Message("2")); });
  client->Flush();
  ASSERT_TRUE(at_server_->AwaitTexts(2));
  EXPECT_EQ(at_server_->texts(), (std::vector<std::string>{"1", "2"}));
  client->Cancel();
  ASSERT_TRUE(at_client_->AwaitClosed());
}

TEST_F(StreamTest, Makers_NeverAsked_AreDestroyedAtTheEnd) {
  StartServer([](TestServerStream& stream, const std::string&) { stream.Close(grpc::Status::OK); });
  const auto client = Connect();
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = held;
  client->Send(Message("end"));
  client->Enqueue([held] { return std::make_optional(Message("never flushed")); });
  held.reset();
  ASSERT_TRUE(at_client_->AwaitClosed());
  EXPECT_TRUE(AwaitExpired(watched));
}

TEST_F(StreamTest, Streams_OpenedAndCancelledAtOnce_AlwaysEnd) {
  StartServer([](TestServerStream& stream, const std::string& text) { stream.Send(Message(text)); });
  for (int i = 0; i < 50; ++i) {
    {
      const auto client = Connect();
      client->Send(Message("x"));
      if (i % 2 == 0) client->Send(Message(std::string(100'000, 'y')));
      client->Cancel();
    }
  }
  for (int attempt = 0; attempt < 3000 && at_client_->closed() < 50; ++attempt) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(at_client_->closed(), 50);
}

}  // namespace
}  // namespace lockstep::wire
