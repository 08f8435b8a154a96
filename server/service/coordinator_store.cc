#include "server/service/coordinator_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/convert.h"
#include "proto/durable.pb.h"
#include "server/storage/sealed_file.h"

namespace lockstep::service {
namespace {

constexpr absl::string_view kKind = "lockstep coordinator 1";

v1::CoordinatorState ToState(const SavedRun& run) {
  const core::CoordinatorMemory& memory = run.memory;
  v1::CoordinatorState state;
  state.set_run_id(memory.run_id);
  state.set_workers(memory.workers);
  state.set_shards(memory.shards);
  state.set_generation(memory.generation.value());
  if (memory.announced) state.set_announced_resume(memory.announced->value());
  for (const core::CoordinatorMemory::Place& place : memory.places) {
    v1::CoordinatorState::Place* saved = state.add_places();
    saved->set_rank(place.rank.value());
    saved->set_incarnation(place.incarnation.value());
    saved->set_name(place.name);
    saved->set_defined(place.defined);
    saved->set_left(place.left);
    saved->set_replacements(place.replacements);
    saved->set_expected(place.expected);
    saved->set_vacant(place.vacant);
  }
  for (Incarnation incarnation : memory.fenced) state.add_fenced(incarnation.value());
  for (Incarnation incarnation : memory.departed) state.add_departed(incarnation.value());
  if (memory.model) *state.mutable_model() = ToProto(*memory.model);
  state.set_done(memory.done);
  for (const core::Exclusion& exclusion : memory.excluded) {
    v1::CoordinatorState::Exclusion* saved = state.add_excluded();
    saved->set_round(exclusion.round.value());
    saved->set_rank(exclusion.rank.value());
    saved->set_why(exclusion.why);
  }
  *state.mutable_optimizer() = run.optimizer;
  state.set_block_elements(run.block_elements);
  if (run.restore) *state.mutable_restore() = *run.restore;
  if (memory.rollback) *state.mutable_rolled_back() = ToProto(*memory.rollback);
  for (const core::Abandoned& history : memory.abandoned) {
    v1::CoordinatorState::Abandoned* saved = state.add_abandoned();
    saved->set_before(history.before.value());
    saved->set_after(history.after.value());
  }
  return state;
}

absl::StatusOr<SavedRun> FromState(const v1::CoordinatorState& state) {
  SavedRun run;
  core::CoordinatorMemory& memory = run.memory;
  memory.run_id = state.run_id();
  memory.workers = state.workers();
  memory.shards = state.shards();
  memory.generation = Generation(state.generation());
  if (state.has_announced_resume()) memory.announced = Round(state.announced_resume());
  for (const v1::CoordinatorState::Place& place : state.places()) {
    memory.places.push_back({.rank = Rank(place.rank()),
                             .incarnation = Incarnation(place.incarnation()),
                             .name = place.name(),
                             .defined = place.defined(),
                             .left = place.left(),
                             .replacements = place.replacements(),
                             .expected = place.expected(),
                             .vacant = place.vacant()});
  }
  for (uint64_t incarnation : state.fenced()) memory.fenced.push_back(Incarnation(incarnation));
  for (uint64_t incarnation : state.departed()) memory.departed.push_back(Incarnation(incarnation));
  if (state.has_model()) {
    absl::StatusOr<ModelSpec> model = FromProto(state.model());
    if (!model.ok()) return model.status();
    memory.model = *std::move(model);
  }
  memory.done = state.done();
  for (const v1::CoordinatorState::Exclusion& saved : state.excluded()) {
    memory.excluded.push_back({.round = Round(saved.round()), .rank = Rank(saved.rank()), .why = saved.why()});
  }
  run.optimizer = state.optimizer();
  run.block_elements = state.block_elements();
  if (state.has_restore()) run.restore = state.restore();
  if (state.has_rolled_back()) {
    const v1::RolledBack& back = state.rolled_back();
    memory.rollback = core::Rollback{.generation = Generation(back.generation()),
                                     .from = Version(back.from_version()),
                                     .to = Version(back.to_version()),
                                     .reason = back.reason(),
                                     .times = back.times(),
                                     .done = back.done()};
  }
  for (const v1::CoordinatorState::Abandoned& history : state.abandoned()) {
    memory.abandoned.push_back({.before = Generation(history.before()), .after = Version(history.after())});
  }
  return run;
}

}  // namespace

v1::RolledBack ToProto(const core::Rollback& rollback) {
  v1::RolledBack back;
  back.set_generation(rollback.generation.value());
  back.set_from_version(rollback.from.value());
  back.set_to_version(rollback.to.value());
  back.set_reason(rollback.reason);
  back.set_times(rollback.times);
  back.set_done(rollback.done);
  return back;
}

CoordinatorStore::CoordinatorStore(storage::FileSystem* files, std::string folder, storage::FailPoint fail_point)
    : files_(files), folder_(std::move(folder)), fail_point_(std::move(fail_point)) {}

absl::StatusOr<std::optional<SavedRun>> CoordinatorStore::Load() const {
  absl::StatusOr<std::optional<std::string>> contents = storage::ReadSealedFile(*files_, path(), kKind);
  const auto explain = [&](const absl::Status& why) {
    return absl::Status(why.code(), absl::StrCat(why.message(),
                                                 ". Without it the run cannot go on: bring the file back "
                                                 "from a copy, or begin a new run with an empty --data-dir"));
  };
  if (absl::IsDataLoss(contents.status())) return explain(contents.status());
  if (!contents.ok()) return contents.status();
  if (!*contents) return std::nullopt;
  v1::CoordinatorState state;
  if (!state.ParseFromString(**contents))
    return explain(absl::DataLossError(absl::StrCat(path(), " cannot be parsed")));
  absl::StatusOr<SavedRun> run = FromState(state);
  if (!run.ok()) return explain(absl::DataLossError(absl::StrCat(path(), ": ", run.status().message())));
  return *std::move(run);
}

absl::Status CoordinatorStore::Save(const SavedRun& run) {
  storage::Pass(fail_point_, "coordinator.before-save");
  absl::Status status = storage::WriteSealedFile(*files_, path(), kKind, ToState(run).SerializeAsString());
  if (status.ok()) storage::Pass(fail_point_, "coordinator.after-save");
  return status;
}

}  // namespace lockstep::service
