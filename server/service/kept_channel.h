// KeptChannel: a way to another process for short calls, which is kept from one call to the next.
//
// Thread-safety: all of it. Nothing blocks.
#ifndef LOCKSTEP_SERVER_SERVICE_KEPT_CHANNEL_H_
#define LOCKSTEP_SERVER_SERVICE_KEPT_CHANNEL_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace lockstep::service {

// It is opened when this is made, so that a call seldom needs an answer of the name service. Not a data channel: that
// would read far ahead of a slow reader.
class KeptChannel {
 public:
  explicit KeptChannel(std::string address);

  const std::string& address() const { return address_; }
  // The channel of the next call: the same as long as it is connected, or about to be; otherwise a new one, which looks
  // the name up at once.
  std::shared_ptr<grpc::Channel> Get() ABSL_LOCKS_EXCLUDED(mutex_);
  // A call over `channel` was not answered within the time that it should take: what it leads to may be gone. The next
  // call gets another one.
  void GiveUp(const std::shared_ptr<grpc::Channel>& channel) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const std::string address_;
  Mutex mutex_;
  std::shared_ptr<grpc::Channel> channel_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_KEPT_CHANNEL_H_
