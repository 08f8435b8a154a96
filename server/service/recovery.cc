#include "server/service/recovery.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {
namespace {

// Replays a journal into a ShardModel and a ShardMemory.
class Replay : public storage::JournalVisitor {
 public:
  Replay(storage::FileSystem& files, const ShardFolders& folders, ShardIndex shard, uint64_t machine_bytes)
      : files_(files), folders_(folders), shard_(shard), machine_bytes_(machine_bytes) {}

  absl::Status OnIdentity(const storage::JournalIdentity& identity) override;
  absl::Status OnRound(const storage::RoundRecord& round, const storage::BlockReader& read) override;
  absl::Status OnInstall(const storage::InstallRecord& install) override;

  // DATA_LOSS: the journal ends before it has brought a whole version.
  absl::Status CheckEnd() const {
    if (!lacks_) return absl::OkStatus();
    return absl::DataLossError("the journal begins after what is loaded, and holds no round that brings everything");
  }
  RecoveredShard Take() { return std::move(shard_state_); }

 private:
  absl::Status ReplayBlock(Slot slot, const storage::RoundRecord& round, const storage::BlockReader& read);
  storage::BlockStore& store() { return shard_state_.model->store; }

  absl::Status LoadBase();
  // The rounds of a stateless optimizer bring everything, so that its journal forgets all before a newer one, however
  // old the base and the newest forgotten install are: it may begin at `first`.
  void SkipForgotten(Round first);

  storage::FileSystem& files_;
  const ShardFolders& folders_;
  const ShardIndex shard_;
  const uint64_t machine_bytes_;
  RecoveredShard shard_state_;
  bool lacks_ = false;  // rounds were skipped, and none that brings everything has come since
};

absl::Status Impossible(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the journal's records are whole, but make no sense: ", what));
}

absl::Status Replay::OnIdentity(const storage::JournalIdentity& identity) {
  if (identity.shard != shard_) {
    return absl::InvalidArgumentError(absl::StrCat("this is the journal of shard ", identity.shard.value(), " of run ",
                                                   identity.run_id, ", but this process is shard ", shard_.value(),
                                                   ": give it its own --data-dir"));
  }
  v1::RunDescription run;
  if (!run.ParseFromString(identity.description)) return Impossible("the description of the run cannot be parsed");
  absl::StatusOr<std::unique_ptr<ShardModel>> model = ShardModel::Create(run, shard_, machine_bytes_);
  if (!model.ok()) return model.status();
  if (IdentityOf(identity.run_id, run, **model) != identity) return Impossible("the blocks are not those of the model");
  shard_state_.run_id = identity.run_id;
  shard_state_.model = *std::move(model);
  return LoadBase();
}

absl::Status Replay::LoadBase() {
  const absl::StatusOr<std::optional<ShardBase>> base = LoadShardBase(files_, folders_.data, *shard_state_.model);
  if (!base.ok()) return base.status();
  if (!*base || (*base)->identity.run_id != shard_state_.run_id) return absl::OkStatus();  // of an older run
  const storage::CheckpointIdentity& identity = (*base)->identity;
  if (absl::Status status = RestoreFromBase(files_, folders_.of(**base), **base, *shard_state_.model); !status.ok()) {
    return status;
  }
  shard_state_.base = **base;
  shard_state_.memory = core::ShardMemory(
      identity.version, {.completed_in = identity.completed_in, .participants = identity.participants});
  spdlog::info("shard {}: loaded its {} version {}", shard_.value(),
               (*base)->compacted ? "compacted journal up to" : "checkpoint of", identity.version.value());
  return absl::OkStatus();
}

void Replay::SkipForgotten(Round first) {
  if (shard_state_.replayed > 0 || store().has_state() || first <= shard_state_.memory.next()) return;
  shard_state_.memory = core::ShardMemory();
  lacks_ = true;
}

absl::Status Replay::ReplayBlock(Slot slot, const storage::RoundRecord& round, const storage::BlockReader& read) {
  if (round.contents == storage::RoundContents::kNothing) {
    store().ReplayNothing(slot);
    return absl::OkStatus();
  }
  storage::BufferRef values = store().Take(slot);
  if (absl::Status status = read(slot, values->values()); !status.ok()) return status;
  if (round.contents == storage::RoundContents::kParameters) {
    store().ReplayParameters(slot, std::move(values));
  } else {
    store().ReplayGradient(slot, round.version, std::move(values));
  }
  return absl::OkStatus();
}

absl::Status Replay::OnRound(const storage::RoundRecord& round, const storage::BlockReader& read) {
  SkipForgotten(round.version);
  core::ShardMemory& memory = shard_state_.memory;
  lacks_ &= round.contents != storage::RoundContents::kParameters;
  if (memory.empty() && !lacks_ && round.version > Version(0) &&
      round.contents != storage::RoundContents::kParameters) {
    return Impossible(absl::StrCat("it begins with what changed in round ", round.version.value(),
                                   ", and nothing holds the version before"));
  }
  const bool known = memory.Has(round.version);
  const core::JournalRound record{.generation = round.generation,
                                  .version = round.version,
                                  .nothing = round.contents == storage::RoundContents::kNothing,
                                  .participants = round.participants};
  if (!memory.Add(record)) {
    return Impossible(absl::StrCat("round ", round.version.value(), " of generation ", round.generation.value(),
                                   " does not follow what is before it"));
  }
  if (known) return absl::OkStatus();
  ++shard_state_.replayed;
  if (lacks_) return absl::OkStatus();
  store().Commit();  // the version before
  for (uint32_t s = 0; s < store().blocks(); ++s) {
    if (absl::Status status = ReplayBlock(Slot(s), round, read); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Replay::OnInstall(const storage::InstallRecord& install) {
  if (!install.restored) SkipForgotten(install.resume);
  core::ShardMemory& memory = shard_state_.memory;
  const Round before = memory.next();
  if (!memory.Add(core::JournalInstall{.generation = install.generation, .resume = install.resume})) {
    return Impossible(absl::StrCat("generation ", install.generation.value(), " resumes at round ",
                                   install.resume.value(), ", but the journal was at round ", before.value()));
  }
  if (memory.next() < before && !lacks_) {
    for (uint32_t s = 0; s < store().blocks(); ++s) store().Undo(Slot(s));
  }
  return absl::OkStatus();
}

}  // namespace

storage::JournalIdentity IdentityOf(const std::string& run_id, const v1::RunDescription& run, const ShardModel& model) {
  storage::JournalIdentity identity{
      .run_id = run_id, .shard = model.shard, .description = run.SerializeAsString(), .elements = {}};
  for (uint32_t s = 0; s < model.store.blocks(); ++s) identity.elements.push_back(model.store.elements(Slot(s)));
  return identity;
}

absl::StatusOr<std::optional<RecoveredShard>> RecoverShard(storage::FileSystem& files, const ShardFolders& folders,
                                                           ShardIndex shard, const storage::JournalOptions& options,
                                                           uint64_t machine_bytes) {
  const absl::Time start = MonotonicNow();
  Replay replay(files, folders, shard, machine_bytes);
  absl::StatusOr<std::unique_ptr<storage::Journal>> journal =
      storage::Journal::Recover(files, folders.journal(), options, replay);
  if (!journal.ok()) return journal.status();
  if (*journal == nullptr) return std::nullopt;
  if (absl::Status status = replay.CheckEnd(); !status.ok()) return status;
  RecoveredShard recovered = replay.Take();
  spdlog::info("shard {}: came back to round {}, generation {}, by replaying {} rounds in {}", shard.value(),
               recovered.memory.next().value(), recovered.memory.installed().value(), recovered.replayed,
               absl::FormatDuration(absl::Trunc(MonotonicNow() - start, absl::Milliseconds(1))));
  recovered.journal = *std::move(journal);
  return recovered;
}

}  // namespace lockstep::service
