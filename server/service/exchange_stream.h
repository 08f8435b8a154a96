// ExchangeStream: one connection of a worker, as gRPC knows it. It hands over what comes and decides nothing.
//
//   ShardService.Exchange -> OnFrame* -> OnStreamClosed, exactly once
//
// What the stream says about itself (Attachment) belongs to its owner: the owner's lock guards it. The stream's own
// lock (in wire::ServerStream) guards only its queue of writes; it is taken after the owner's, if ever both are held.
//
// Thread-safety: as wire::ServerStream; calls of the owner come without any lock. Nothing blocks.
#ifndef LOCKSTEP_SERVER_SERVICE_EXCHANGE_STREAM_H_
#define LOCKSTEP_SERVER_SERVICE_EXCHANGE_STREAM_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "common/ids.h"
#include "common/wire/server_stream.h"

namespace lockstep::service {

// Who speaks on a stream, as its ATTACH has said.
struct Attachment {
  Member who;
  uint32_t connection = 0;
  uint64_t attempt = 0;
  friend bool operator==(const Attachment&, const Attachment&) = default;
};

class ExchangeStream : public wire::ServerStream<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // May take the message's contents.
    virtual void OnFrame(const std::shared_ptr<ExchangeStream>& stream, grpc::ByteBuffer& message) = 0;
    virtual void OnStreamClosed(const ExchangeStream& stream) = 0;
  };

  // `owner` must outlive the stream.
  explicit ExchangeStream(Owner* owner) : owner_(owner) {}

  // Guarded by the owner's lock. Absent before the first ATTACH; never changes after it.
  std::optional<Attachment> attachment;

 private:
  void OnMessage(grpc::ByteBuffer& message) override {
    owner_->OnFrame(std::static_pointer_cast<ExchangeStream>(shared_from_this()), message);
  }
  void OnClosed() override { owner_->OnStreamClosed(*this); }

  Owner* const owner_;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_EXCHANGE_STREAM_H_
