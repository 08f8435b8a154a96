#include "server/service/kept_channel.h"

#include <utility>

#include "common/wire/channel.h"

namespace lockstep::service {

KeptChannel::KeptChannel(std::string address) : address_(std::move(address)) { Get(); }

std::shared_ptr<grpc::Channel> KeptChannel::Get() {
  MutexLock lock(&mutex_);
  if (channel_ != nullptr) {
    const grpc_connectivity_state state = channel_->GetState(/*try_to_connect=*/false);
    if (state == GRPC_CHANNEL_READY || state == GRPC_CHANNEL_CONNECTING) return channel_;
  }
  channel_ = wire::ControlChannel(address_);
  channel_->GetState(/*try_to_connect=*/true);
  return channel_;
}

void KeptChannel::GiveUp(const std::shared_ptr<grpc::Channel>& channel) {
  MutexLock lock(&mutex_);
  if (channel_ == channel) channel_ = nullptr;
}

}  // namespace lockstep::service
