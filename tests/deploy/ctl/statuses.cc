#include "tests/deploy/ctl/statuses.h"

#include "absl/strings/str_cat.h"

namespace lockstep::ctl {
namespace {

constexpr uint32_t kBlocks = 12;

void AddMissing(google::protobuf::RepeatedPtrField<v1::MissingOnShard>* missing, uint32_t shard, uint32_t count) {
  v1::MissingOnShard* m = missing->Add();
  m->set_shard(shard);
  m->set_missing_blocks(count);
  m->set_blocks(kBlocks);
}

void AddWorker(v1::Status& status, uint32_t rank) {
  v1::WorkerStatus* worker = status.add_workers();
  worker->set_rank(rank);
  worker->set_name(absl::StrCat("worker-", rank));
  worker->set_state(v1::WorkerStatus::ACTIVE);
  worker->set_incarnation(0xfedcba9876543210u + rank);
  worker->set_heartbeat_age_seconds(0.2);
  worker->set_state_seconds(72);
}

void AddShard(v1::Status& status, uint32_t index) {
  v1::ShardStatus* shard = status.add_shards();
  shard->set_shard_index(index);
  shard->set_address(absl::StrCat("127.0.0.1:", 7000 + index));
  shard->set_state(v1::ShardStatus::UP);
  shard->set_generation(4);
  shard->set_version(117);
  shard->set_has_version(true);
  shard->set_blocks(kBlocks);
  shard->set_closed_blocks(5);
  shard->set_parameter_bytes(437544);
}

void AddRound(v1::Status& status, uint64_t version, uint32_t workers) {
  v1::RoundRecord* round = status.add_rounds();
  round->set_version(version);
  round->set_generation(4);
  for (uint32_t rank = 0; rank < workers; ++rank) round->add_participants(rank);
  round->set_seconds(0.012);
  round->set_collect_seconds(0.007);
  round->set_last_rank(workers - 1);
  round->set_last_by_seconds(0.004);
}

void AddModel(v1::Status& status) {
  v1::TensorSpec* weight = status.mutable_model()->add_tensors();
  weight->set_name("hidden.weight");
  weight->add_shape(128);
  weight->add_shape(784);
  weight->set_dtype(v1::DTYPE_F32);
  v1::TensorSpec* bias = status.mutable_model()->add_tensors();
  bias->set_name("hidden.bias");
  bias->add_shape(128);
  bias->set_dtype(v1::DTYPE_F32);
  status.mutable_optimizer()->set_optimizer("adamw");
  status.mutable_optimizer()->set_lr(0.001);
}

v1::WaitingFor* WaitForRank(v1::Status& status, uint32_t rank, const std::string& name, double since,
                            const std::string& reason) {
  v1::WaitingFor* waiting = status.add_waiting_for();
  waiting->set_rank(rank);
  waiting->set_name(name);
  waiting->set_since_seconds(since);
  waiting->set_reason(reason);
  return waiting;
}

// Nobody holds any rank, and there is no version.
void EmptyRun(v1::Status& status) {
  status.clear_rounds();
  status.clear_model();
  status.clear_optimizer();
  status.set_has_version(false);
  status.set_version(0);
  for (v1::WorkerStatus& worker : *status.mutable_workers()) {
    const uint32_t rank = worker.rank();
    worker.Clear();
    worker.set_rank(rank);
    worker.set_state(v1::WorkerStatus::ABSENT);
  }
  for (v1::ShardStatus& shard : *status.mutable_shards()) shard.set_has_version(false);
}

}  // namespace

v1::Status HealthyRun(uint32_t workers, uint32_t shards) {
  v1::Status status;
  status.set_run_id("3f9a2c01");
  status.set_state(v1::Status::TRAINING);
  status.set_healthy(true);
  status.set_summary("collecting round 118");
  status.set_generation(4);
  status.set_version(117);
  status.set_has_version(true);
  status.set_round(118);
  for (uint32_t rank = 0; rank < workers; ++rank) AddWorker(status, rank);
  for (uint32_t index = 0; index < shards; ++index) AddShard(status, index);
  for (uint64_t version = 117; version > 107; --version) AddRound(status, version, workers);
  status.set_uptime_seconds(72);
  status.set_lease_seconds(5);
  AddModel(status);
  status.set_block_elements(65536);
  status.set_coordinator("127.0.0.1:7000");
  return status;
}

v1::Status StragglerRun(uint32_t workers, uint32_t shards, uint32_t rank) {
  v1::Status status = HealthyRun(workers, shards);
  status.set_healthy(false);
  const std::string name = absl::StrCat("worker-", rank);
  status.set_summary(
      absl::StrCat("round 118 is under way, waits for rank ", rank, " (", name, ") for 8.2 s: silent: no heartbeat"));
  v1::WorkerStatus* worker = status.mutable_workers(static_cast<int>(rank));
  worker->set_state(v1::WorkerStatus::SILENT);
  worker->set_heartbeat_age_seconds(8.2);
  v1::WaitingFor* waiting = WaitForRank(status, rank, name, 8.2, "silent: no heartbeat");
  for (uint32_t shard = 0; shard < shards; ++shard) {
    AddMissing(waiting->mutable_missing(), shard, shard == 0 ? kBlocks : 3);
    AddMissing(worker->mutable_missing(), shard, shard == 0 ? kBlocks : 3);
  }
  return status;
}

v1::Status LostWorkerRun(uint32_t workers, uint32_t shards, uint32_t rank) {
  v1::Status status = StragglerRun(workers, shards, rank);
  status.set_state(v1::Status::WAITING_FOR_WORKERS);
  status.mutable_workers(static_cast<int>(rank))->set_state(v1::WorkerStatus::LOST);
  status.mutable_waiting_for(0)->set_reason("its lease expired; waiting for a replacement");
  return status;
}

v1::Status AbsentShardsRun(uint32_t workers, uint32_t shards) {
  v1::Status status = HealthyRun(workers, shards);
  EmptyRun(status);
  status.set_state(v1::Status::WAITING_FOR_SHARDS);
  status.set_healthy(false);
  for (uint32_t index = 1; index < shards; ++index) {
    v1::ShardStatus* shard = status.mutable_shards(static_cast<int>(index));
    shard->Clear();
    shard->set_shard_index(index);
    shard->set_state(v1::ShardStatus::ABSENT);
    v1::WaitingFor* waiting = status.add_waiting_for();
    waiting->set_shard_index(index);
    waiting->set_since_seconds(12);
    waiting->set_reason("has not registered");
  }
  return status;
}

v1::Status FreshRun(uint32_t workers, uint32_t shards) {
  v1::Status status = HealthyRun(workers, shards);
  EmptyRun(status);
  status.set_state(v1::Status::WAITING_FOR_WORKERS);
  for (uint32_t rank = 0; rank < workers; ++rank) {
    WaitForRank(status, rank, "", 1.5, "nobody has taken the rank");
  }
  return status;
}

v1::Status DoneRun(uint32_t workers, uint32_t shards) {
  v1::Status status = HealthyRun(workers, shards);
  status.set_state(v1::Status::DONE);
  status.set_summary("all workers have left");
  for (v1::WorkerStatus& worker : *status.mutable_workers()) {
    worker.set_state(v1::WorkerStatus::LEFT);
  }
  return status;
}

v1::Status FailedRun(uint32_t workers, uint32_t shards) {
  v1::Status status = HealthyRun(workers, shards);
  status.set_state(v1::Status::FAILED);
  status.set_healthy(false);
  status.set_summary("shard 1 came back without its memory");
  return status;
}

v1::Status WorstRun(uint32_t workers, uint32_t shards) {
  v1::Status status = HealthyRun(workers, shards);
  status.set_healthy(false);
  status.set_summary("everything\nat once");
  for (uint32_t rank = 0; rank < workers; ++rank) {
    v1::WorkerStatus* worker = status.mutable_workers(static_cast<int>(rank));
    worker->set_state(static_cast<v1::WorkerStatus::State>(rank % 7));
    WaitForRank(status, rank, worker->name(), rank, absl::StrCat("reason\n", rank));
  }
  for (uint32_t index = 0; index < shards; ++index) {
    v1::ShardStatus* shard = status.mutable_shards(static_cast<int>(index));
    shard->set_version(100 + index);
    shard->set_state(static_cast<v1::ShardStatus::State>(index % 4));
  }
  return status;
}

}  // namespace lockstep::ctl
