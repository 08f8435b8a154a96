// Shows ThreadSanitizer what gRPC orders. Debian's gRPC is not instrumented, so TSan does not see that what was done
// before an operation was started happens before its callback. These functions stand in for gRPC's own of the same name
// in programs that are built with TSan, and in no others: they mark the two ends, or start a thread where gRPC hands
// over to one of its own.
#ifdef __SANITIZE_THREAD__

#include <dlfcn.h>
#include <grpc/grpc.h>
#include <grpcpp/support/client_callback.h>
#include <grpcpp/support/server_callback.h>

#include <thread>
#include <utility>

#include "common/mutex.h"

extern "C" {

// A request that gRPC makes and hands over without any call that could be marked. Nothing of Lockstep's may be listed
// here.
const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() { return "race:grpc::internal::InterceptorBatchMethodsImpl\n"; }

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t nops, void* tag, void* reserved) {
  static const auto real =
      reinterpret_cast<decltype(&grpc_call_start_batch)>(dlsym(RTLD_NEXT, "grpc_call_start_batch"));
  lockstep::TsanReleaseToGrpc();
  return real(call, ops, nops, tag, reserved);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline, void* reserved) {
  static const auto real =
      reinterpret_cast<decltype(&grpc_completion_queue_next)>(dlsym(RTLD_NEXT, "grpc_completion_queue_next"));
  lockstep::TsanReleaseToGrpc();
  const grpc_event event = real(queue, deadline, reserved);
  lockstep::TsanAcquireFromGrpc();
  return event;
}

}  // extern "C"

namespace grpc::internal {

void ClientReactor::InternalScheduleOnDone(Status status) {
  std::thread([this, status = std::move(status)] {
    lockstep::TsanAcquireFromGrpc();
    OnDone(status);
  }).detach();
}

void ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  if (inline_ondone) return CallOnDone();
  std::thread([this] {
    lockstep::TsanAcquireFromGrpc();
    CallOnDone();
  }).detach();
}

void ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  if (reactor->InternalInlineable()) return reactor->OnCancel();
  Ref();
  std::thread([this, reactor] {
    reactor->OnCancel();
    lockstep::TsanReleaseToGrpc();
    MaybeDone();
  }).detach();
}

}  // namespace grpc::internal

#endif
