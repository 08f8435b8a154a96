// What a coordinator and its workers say to the only shard of a run whose model has two blocks of two elements.
#ifndef LOCKSTEP_TESTS_SERVER_SERVICE_ONE_SHARD_H_
#define LOCKSTEP_TESTS_SERVER_SERVICE_ONE_SHARD_H_

#include <cstdint>
#include <string>

#include "proto/coordinator.pb.h"
#include "proto/shard.pb.h"

namespace lockstep::service {

inline constexpr uint64_t kSelf = 7;     // the shard's incarnation
inline constexpr uint64_t kWorker = 11;  // rank 0's; the others' follow
inline constexpr uint32_t kBlocks = 2;
inline constexpr uint64_t kBlockBytes = 8;

inline v1::Seal MakeSeal(uint64_t generation) {
  v1::Seal seal;
  seal.set_generation(generation);
  seal.set_incarnation(kSelf);
  return seal;
}

inline v1::Install MakeInstall(uint64_t generation, uint64_t resume, uint32_t workers = 1) {
  v1::Install install;
  install.set_generation(generation);
  install.set_incarnation(kSelf);
  install.set_resume_round(resume);
  for (uint32_t rank = 0; rank < workers; ++rank) {
    v1::Member* member = install.add_members();
    member->set_rank(rank);
    member->set_incarnation(kWorker + rank);
  }
  v1::TensorSpec* tensor = install.mutable_run()->mutable_model()->add_tensors();
  tensor->set_name("weight");
  tensor->add_shape(4);
  tensor->set_dtype(v1::DTYPE_F32);
  install.mutable_run()->mutable_optimizer()->set_optimizer("sgd");
  install.mutable_run()->mutable_optimizer()->set_lr(0.5);
  install.mutable_run()->mutable_optimizer()->set_schedule("constant");
  install.mutable_run()->set_shards(1);
  install.mutable_run()->set_workers(workers);
  install.mutable_run()->set_connections(1);
  install.mutable_run()->set_block_elements(2);
  return install;
}

// Of rank 0, on its only connection.
inline v1::FrameHeader AttachFrame(uint64_t generation, uint64_t next) {
  v1::FrameHeader header;
  header.set_kind(v1::FrameHeader::ATTACH);
  header.set_run_id("run");
  header.set_generation(generation);
  header.set_round(next);
  header.set_incarnation(kWorker);
  header.set_connections(1);
  return header;
}

// Goes before kBlockBytes.
inline v1::FrameHeader ContributionFrame(uint64_t generation, uint64_t round, uint32_t block) {
  v1::FrameHeader header;
  header.set_kind(v1::FrameHeader::CONTRIBUTION);
  header.set_generation(generation);
  header.set_round(round);
  header.set_block(block);
  header.set_weight(1);
  header.set_dtype(v1::DTYPE_F32);
  return header;
}

inline std::string BlockPayload() { return std::string(kBlockBytes, '\x3f'); }

}  // namespace lockstep::service

#endif  // LOCKSTEP_TESTS_SERVER_SERVICE_ONE_SHARD_H_
