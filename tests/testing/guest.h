// A guest that speaks the raw protocol, rightly or wrongly: bytes in, bytes out, and how the stream ended.
//
//   auto guest = Guest::Call(cluster.address(1), "lockstep.v1.Shard/Exchange");
//   guest->Say(frame);
//   absl::Status why = guest->AwaitEnd();
//
// Thread-safety: all of it.
#ifndef LOCKSTEP_TESTS_TESTING_GUEST_H_
#define LOCKSTEP_TESTS_TESTING_GUEST_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/generic/generic_stub.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/wire/channel.h"
#include "common/wire/client_stream.h"
#include "common/wire/status.h"

namespace lockstep::testing {

class Guest : public wire::ClientStream<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // Opens a stream of `method` ("package.Service/Method").
  static std::shared_ptr<Guest> Call(const std::string& address, const std::string& method) {
    auto guest = std::make_shared<Guest>(address, method);
    guest->Start();
    return guest;
  }
  Guest(const std::string& address, const std::string& method) : stub_(wire::DataChannel(address)) {
    stub_.PrepareBidiStreamingCall(&context(), absl::StrCat("/", method), {}, this);
  }

  void Say(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    Send(grpc::ByteBuffer(&slice, 1));
  }
  void Say(const google::protobuf::MessageLite& message) { Say(message.SerializeAsString()); }

  // The next message for which `wanted` is true, others before it skipped; nothing if the stream ends or 20 s pass.
  template <typename Message>
  std::optional<Message> Hear(const std::function<bool(const Message&)>& wanted) {
    const absl::Time deadline = MonotonicNow() + kPatience;
    while (true) {
      MutexLock lock(&mutex_);
      const auto news = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !heard_.empty() || end_.has_value(); };
      if (!mutex_.AwaitWithTimeout(absl::Condition(&news), deadline - MonotonicNow()) || heard_.empty())
        return std::nullopt;
      Message message;
      const bool parsed = message.ParseFromString(heard_.front());
      heard_.pop_front();
      if (parsed && wanted(message)) return message;
    }
  }

  // How the server ended the stream; DEADLINE_EXCEEDED, and the guest goes, when it has not within 20 s.
  absl::Status AwaitEnd() {
    {
      MutexLock lock(&mutex_);
      const auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return end_.has_value(); };
      if (mutex_.AwaitWithTimeout(absl::Condition(&over), kPatience)) return *end_;
    }
    Cancel();
    return absl::DeadlineExceededError("the server did not end the stream");
  }
  bool ended() {
    MutexLock lock(&mutex_);
    return end_.has_value();
  }

 private:
  static constexpr absl::Duration kPatience = absl::Seconds(20);

  void OnMessage(grpc::ByteBuffer& message) override {
    std::vector<grpc::Slice> slices;
    if (!message.Dump(&slices).ok()) return;
    std::string bytes;
    for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    MutexLock lock(&mutex_);
    heard_.push_back(std::move(bytes));
  }
  void OnClosed(const grpc::Status& status) override {
    MutexLock lock(&mutex_);
    end_ = wire::FromGrpc(status);
  }

  grpc::GenericStub stub_;
  Mutex mutex_;
  std::deque<std::string> heard_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_GUEST_H_
