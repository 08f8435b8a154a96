#include "deploy/ctl/status_json.h"

#include "absl/strings/str_format.h"
#include "deploy/ctl/words.h"

namespace lockstep::ctl {
namespace {

// A JSON array of what `convert` makes of each element.
template <typename Elements, typename Convert>
Json ArrayOf(const Elements& elements, Convert convert) {
  Json array = Json::array();
  for (const auto& element : elements) array.push_back(convert(element));
  return array;
}

template <typename Numbers>
Json NumbersJson(const Numbers& numbers) {
  return ArrayOf(numbers, [](auto number) { return Json(number); });
}

Json VersionJson(bool has_version, uint64_t version) { return has_version ? Json(version) : Json(nullptr); }

Json MissingJson(const google::protobuf::RepeatedPtrField<v1::MissingOnShard>& missing) {
  return ArrayOf(missing, [](const v1::MissingOnShard& m) {
    return Json{{"shard", m.shard()}, {"missing_blocks", m.missing_blocks()}, {"blocks", m.blocks()}};
  });
}

Json WaitingJson(const v1::WaitingFor& waiting) {
  Json json = Json::object();
  if (waiting.has_rank()) json["rank"] = waiting.rank();
  if (waiting.has_shard_index()) json["shard"] = waiting.shard_index();
  json["name"] = waiting.name();
  json["since_seconds"] = waiting.since_seconds();
  json["reason"] = waiting.reason();
  json["missing"] = MissingJson(waiting.missing());
  return json;
}

Json WorkerJson(const v1::WorkerStatus& worker) {
  return {{"rank", worker.rank()},
          {"name", worker.name()},
          {"state", StateName(worker.state())},
          {"incarnation", absl::StrFormat("%016x", worker.incarnation())},
          {"heartbeat_age_seconds", worker.heartbeat_age_seconds()},
          {"state_seconds", worker.state_seconds()},
          {"replacements", worker.replacements()},
          {"last_count", worker.last_count()},
          {"last_by_seconds", worker.last_by_seconds()},
          {"last_by_most_seconds", worker.last_by_most_seconds()},
          {"missed", worker.missed()},
          {"missing", MissingJson(worker.missing())}};
}

Json ShardJson(const v1::ShardStatus& shard) {
  return {{"shard", shard.shard_index()},
          {"address", shard.address()},
          {"state", StateName(shard.state())},
          {"generation", shard.generation()},
          {"version", VersionJson(shard.has_version(), shard.version())},
          {"blocks", shard.blocks()},
          {"closed_blocks", shard.closed_blocks()},
          {"parameter_bytes", shard.parameter_bytes()},
          {"contribution_bytes", shard.contribution_bytes()},
          {"report_age_seconds", shard.report_age_seconds()},
          {"duplicates", shard.duplicates()},
          {"stale", shard.stale()},
          {"memory_bound_bytes", shard.memory_bound_bytes()},
          {"memory_bound", shard.memory_bound()}};
}

Json RoundJson(const v1::RoundRecord& round) {
  return {{"version", round.version()},
          {"generation", round.generation()},
          {"participants", NumbersJson(round.participants())},
          {"seconds", round.seconds()},
          {"collect_seconds", round.collect_seconds()},
          {"journal_seconds", round.journal_seconds()},
          {"last_rank", round.last_rank()},
          {"last_by_seconds", round.last_by_seconds()}};
}

Json TensorJson(const v1::TensorSpec& tensor) {
  const std::string dtype = tensor.dtype() == v1::DTYPE_F32 ? "f32" : "unspecified";
  return {{"name", tensor.name()}, {"shape", NumbersJson(tensor.shape())}, {"dtype", dtype}};
}

Json OptimizerJson(const v1::OptimizerConfig& config) {
  return {{"optimizer", config.optimizer()},
          {"lr", config.lr()},
          {"momentum", config.momentum()},
          {"beta1", config.beta1()},
          {"beta2", config.beta2()},
          {"epsilon", config.epsilon()},
          {"weight_decay", config.weight_decay()},
          {"schedule", config.schedule()},
          {"warmup_rounds", config.warmup_rounds()},
          {"schedule_step_rounds", config.schedule_step_rounds()},
          {"schedule_gamma", config.schedule_gamma()},
          {"schedule_total_rounds", config.schedule_total_rounds()},
          {"schedule_min_lr", config.schedule_min_lr()}};
}

Json CheckpointsJson(const v1::CheckpointStatus& checkpoints) {
  return {{"enabled", checkpoints.enabled()},
          {"newest_version", VersionJson(checkpoints.has_newest(), checkpoints.newest_version())},
          {"newest_age_seconds", checkpoints.has_newest() ? Json(checkpoints.newest_age_seconds()) : Json(nullptr)},
          {"folder", checkpoints.folder()},
          {"finished", checkpoints.finished()},
          {"failures", checkpoints.failures()},
          {"trouble", checkpoints.trouble()},
          {"target_version", VersionJson(checkpoints.has_target(), checkpoints.target_version())}};
}

Json RolledBackJson(const v1::Status& status) {
  if (!status.has_rolled_back()) return nullptr;
  const v1::RolledBack& back = status.rolled_back();
  return {{"generation", back.generation()},
          {"from_version", back.from_version()},
          {"to_version", back.to_version()},
          {"reason", back.reason()},
          {"times", back.times()}};
}

}  // namespace

Json WorkersJson(const v1::Status& status) { return ArrayOf(status.workers(), WorkerJson); }

Json ShardsJson(const v1::Status& status) { return ArrayOf(status.shards(), ShardJson); }

Json RoundsJson(const v1::Status& status) { return ArrayOf(status.rounds(), RoundJson); }

Json StatusJson(const v1::Status& status) {
  return {{"run_id", status.run_id()},
          {"state", StateName(status.state())},
          {"healthy", status.healthy()},
          {"summary", status.summary()},
          {"generation", status.generation()},
          {"version", VersionJson(status.has_version(), status.version())},
          {"round", status.round()},
          {"waiting_for", ArrayOf(status.waiting_for(), WaitingJson)},
          {"workers", WorkersJson(status)},
          {"shards", ShardsJson(status)},
          {"rounds", RoundsJson(status)},
          {"uptime_seconds", status.uptime_seconds()},
          {"lease_seconds", status.lease_seconds()},
          {"model", {{"tensors", ArrayOf(status.model().tensors(), TensorJson)}}},
          {"block_elements", status.block_elements()},
          {"optimizer", OptimizerJson(status.optimizer())},
          {"coordinator", status.coordinator()},
          {"checkpoints", CheckpointsJson(status.checkpoints())},
          {"durability", status.durability()},
          {"warning", status.warning()},
          {"rolled_back", RolledBackJson(status)}};
}

std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace lockstep::ctl
