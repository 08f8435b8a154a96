// Todo: what a section under the driver's lock leaves to be done without it. It holds references to all that it needs.
//
// Done in the order of the fields (Worker::Impl::Do): a stream is opened before anybody flushes it, and a caller hears
// of a result after the messages that the same event brought about are on their way.
//
// Thread-safety: a value, of one thread.
#ifndef LOCKSTEP_WORKER_CLIENT_TODO_H_
#define LOCKSTEP_WORKER_CLIENT_TODO_H_

#include <memory>
#include <vector>

#include "worker/client/streams.h"

namespace lockstep::client {

struct Call;

struct Todo {
  std::shared_ptr<MembershipStream> open_membership;  // made now, to be opened
  std::vector<std::shared_ptr<DataStream>> open;      // made now, to be opened
  std::vector<std::shared_ptr<DataStream>> flush;     // have new messages
  bool store_block = false;                   // the block that has just come is wanted: copy it, say BlockStored
  std::shared_ptr<MembershipStream> give_up;  // the worker is over: to be cancelled, so that its place gets free
  std::shared_ptr<Call> deliver;              // its `done` is to be called
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_TODO_H_
