#include "server/service/run_status.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lockstep::service {
namespace {

constexpr size_t kMostRecords = 256;
// A wait shorter than this is the ordinary course of a round.
constexpr absl::Duration kWorthTelling = absl::Milliseconds(500);

using core::RunState;
using core::Seat;
using core::SeatState;

// "12 s", "3.2 s", "250 ms".
std::string Age(absl::Duration age) {
  const double seconds = absl::ToDoubleSeconds(age);
  if (seconds < 1) return absl::StrCat(static_cast<int>(seconds * 1000), " ms");
  if (seconds >= 9.95) return absl::StrCat(std::llround(seconds), " s");
  return absl::StrCat(static_cast<double>(std::llround(seconds * 10)) / 10, " s");
}

v1::Status::State StateOf(RunState state) {
  switch (state) {
    case RunState::kWaitingForShards:
      return v1::Status::WAITING_FOR_SHARDS;
    case RunState::kWaitingForWorkers:
      return v1::Status::WAITING_FOR_WORKERS;
    case RunState::kSealing:
    case RunState::kInstalling:
      return v1::Status::CHANGING_GENERATION;
    case RunState::kTraining:
      return v1::Status::TRAINING;
    case RunState::kDone:
      return v1::Status::DONE;
    case RunState::kFailed:
      return v1::Status::FAILED;
  }
  return v1::Status::UNSPECIFIED;
}

// Gathers the answer piece by piece.
class Describer {
 public:
  Describer(const core::CoordinatorCore& core, const std::vector<ReportedShard>& shards, const RoundHistory& rounds,
            absl::Time now, const std::optional<SlowSave>& save)
      : core_(core), shards_(shards), rounds_(rounds), now_(now), save_(save) {}

  v1::Status Describe(uint32_t most_rounds) {
    status_.set_run_id(core_.options().run_id);
    status_.set_state(StateOf(core_.state()));
    status_.set_generation(core_.generation().value());
    status_.set_lease_seconds(absl::ToDoubleSeconds(core_.options().lease));
    DescribeVersion();
    for (size_t r = 0; r < core_.seats().size(); ++r) DescribeWorker(static_cast<uint32_t>(r));
    for (size_t s = 0; s < shards_.size(); ++s) DescribeShard(static_cast<uint32_t>(s));
    const auto& records = rounds_.records();
    for (auto at = records.rbegin(); at != records.rend() && most_rounds-- > 0; ++at) *status_.add_rounds() = *at;
    DescribeWaits();
    Judge();
    return std::move(status_);
  }

 private:
  bool Ended() const { return core_.state() == RunState::kDone || core_.state() == RunState::kFailed; }

  void DescribeVersion() {
    uint64_t next = shards_.empty() ? 0 : UINT64_MAX;
    for (const ReportedShard& shard : shards_) next = std::min<uint64_t>(next, shard.report.next_round());
    status_.set_round(next);
    status_.set_has_version(next > 0);
    if (next > 0) status_.set_version(next - 1);
  }

  // What the shards' reports of this generation say that `rank` still owes to the round in progress. A rank that waits
  // for its credit, because others have not brought what it has brought, owes nothing.
  void AddMissing(uint32_t rank, google::protobuf::RepeatedPtrField<v1::MissingOnShard>* missing) const {
    for (uint32_t s = 0; s < shards_.size(); ++s) {
      const v1::ShardReport& report = shards_[s].report;
      if (report.generation() != core_.generation().value()) continue;
      if (report.next_round() != status_.round())
        continue;  // ahead: nobody can contribute there before the others are done
      const auto& awaited = report.awaited_blocks();
      const bool told_apart = std::any_of(awaited.begin(), awaited.end(), [](uint32_t blocks) { return blocks > 0; });
      for (int i = 0; i < std::min(report.ranks_size(), report.missing_blocks_size()); ++i) {
        if (report.ranks(i) != rank || report.missing_blocks(i) == 0) continue;
        if (told_apart && i < awaited.size() && awaited[i] == 0) continue;
        v1::MissingOnShard* entry = missing->Add();
        entry->set_shard(s);
        entry->set_missing_blocks(report.missing_blocks(i));
        entry->set_blocks(report.blocks());
      }
    }
  }

  // The longest that a shard which lacks blocks of `rank` has waited.
  absl::Duration WaitFor(const v1::WorkerStatus& worker) const {
    absl::Duration longest = absl::ZeroDuration();
    for (const v1::MissingOnShard& missing : worker.missing()) {
      const ReportedShard& shard = shards_[missing.shard()];
      longest = std::max(longest, absl::Seconds(shard.report.waiting_seconds()) + (now_ - shard.at));
    }
    return longest;
  }

  void DescribeWorker(uint32_t rank) {
    const Seat& seat = core_.seats()[rank];
    v1::WorkerStatus* worker = status_.add_workers();
    worker->set_rank(rank);
    worker->set_name(seat.name);
    worker->set_state(StateOfSeat(seat));
    if (seat.state != SeatState::kAbsent) {
      worker->set_incarnation(seat.incarnation.value());
      worker->set_state_seconds(absl::ToDoubleSeconds(now_ - seat.since));
      worker->set_heartbeat_age_seconds(absl::ToDoubleSeconds(now_ - seat.heard));
    }
    worker->set_replacements(seat.replacements);
    const Lateness lateness = rounds_.LatenessOf(rank);
    worker->set_last_count(lateness.last);
    worker->set_last_by_seconds(absl::ToDoubleSeconds(lateness.last_by));
    worker->set_last_by_most_seconds(absl::ToDoubleSeconds(lateness.last_by_most));
    worker->set_missed(lateness.missed);
    AddMissing(rank, worker->mutable_missing());
  }

  v1::WorkerStatus::State StateOfSeat(const Seat& seat) const {
    switch (seat.state) {
      case SeatState::kAbsent:
        return v1::WorkerStatus::ABSENT;
      case SeatState::kLost:
        return v1::WorkerStatus::LOST;
      case SeatState::kLeft:
        return v1::WorkerStatus::LEFT;
      default:
        break;
    }
    if (now_ - seat.heard > SilentAfter(core_.options().lease)) return v1::WorkerStatus::SILENT;
    return seat.state == SeatState::kJoined ? v1::WorkerStatus::JOINED : v1::WorkerStatus::ACTIVE;
  }

  bool Lost(uint32_t shard) const { return core_.shards()[shard].present && shards_[shard].closed.has_value(); }

  bool Silent(uint32_t shard) const {
    return core_.shards()[shard].present && now_ - shards_[shard].at > SilentAfter(core_.options().lease);
  }

  void DescribeShard(uint32_t index) {
    const ReportedShard& reported = shards_[index];
    v1::ShardStatus* shard = status_.add_shards();
    shard->set_shard_index(index);
    shard->set_address(core_.shards()[index].address);
    const bool present = core_.shards()[index].present;
    shard->set_state(!present        ? v1::ShardStatus::ABSENT
                     : Lost(index)   ? v1::ShardStatus::LOST
                     : Silent(index) ? v1::ShardStatus::SILENT
                                     : v1::ShardStatus::UP);
    shard->set_generation(reported.report.generation());
    shard->set_has_version(reported.report.next_round() > 0);
    if (shard->has_version()) shard->set_version(reported.report.next_round() - 1);
    shard->set_blocks(reported.report.blocks());
    shard->set_closed_blocks(reported.report.closed_blocks());
    shard->set_parameter_bytes(reported.report.parameter_bytes());
    shard->set_contribution_bytes(reported.report.contribution_bytes());
    if (reported.at != absl::InfinitePast()) shard->set_report_age_seconds(absl::ToDoubleSeconds(now_ - reported.at));
    shard->set_duplicates(reported.report.duplicates());
    shard->set_stale(reported.report.stale());
    shard->set_memory_bound_bytes(reported.report.memory_bound_bytes());
    shard->set_memory_bound(reported.report.memory_bound());
  }

  // ---- Who is waited for ----

  void DescribeWaits() {
    if (Ended()) return;
    for (uint32_t s = 0; s < shards_.size(); ++s) WaitForShard(s);
    for (const v1::WorkerStatus& worker : status_.workers()) WaitForWorker(worker);
    // Shards first: without one, everybody waits. Then ranks that nobody alive holds, since a live worker may be held
    // back by them. Among equals, who has kept the run waiting longest.
    auto* waits = status_.mutable_waiting_for();
    const auto place = [this](const v1::WaitingFor& wait) {
      if (!wait.has_rank()) return 0;
      return status_.workers(static_cast<int>(wait.rank())).state() == v1::WorkerStatus::ACTIVE ? 2 : 1;
    };
    std::stable_sort(waits->begin(), waits->end(), [&](const v1::WaitingFor& a, const v1::WaitingFor& b) {
      if (place(a) != place(b)) return place(a) < place(b);
      return a.since_seconds() > b.since_seconds();
    });
  }

  // Some shard is not there or says nothing, so that what live workers owe is not their fault.
  bool ShardsInTrouble() const {
    return std::any_of(status_.shards().begin(), status_.shards().end(),
                       [](const v1::ShardStatus& shard) { return shard.state() != v1::ShardStatus::UP; });
  }

  void WaitForShard(uint32_t s) {
    const core::ShardSeat& shard = core_.shards()[s];
    const std::vector<ShardIndex> unanswered = core_.UnansweredShards();
    const bool asked = std::find(unanswered.begin(), unanswered.end(), ShardIndex(s)) != unanswered.end();
    if (!shard.present) {
      AddShard(s, now_ - core_.state_since(), "has not come yet");
    } else if (Lost(s)) {
      const absl::Duration gone = now_ - *shards_[s].closed;
      AddShard(s, gone, absl::StrCat("lost: connection closed ", Age(gone), " ago"));
    } else if (Silent(s)) {
      const absl::Duration silent = now_ - std::max(shards_[s].at, core_.state_since());
      AddShard(s, silent, "silent: no report");
    } else if (asked && now_ - core_.state_since() > kWorthTelling) {
      AddShard(s, now_ - core_.state_since(),
               absl::StrCat("has not answered the change to generation ", core_.generation().value()));
    } else {
      WaitForDisk(s);
    }
  }

  void WaitForDisk(uint32_t s) {
    const v1::ShardReport& report = shards_[s].report;
    const absl::Duration waits = report.disk_seconds() > 0
                                     ? absl::Seconds(report.disk_seconds()) + (now_ - shards_[s].at)
                                     : absl::ZeroDuration();
    const absl::Duration saves = s == 0 && save_ ? now_ - save_->since : absl::ZeroDuration();
    const absl::Duration longest = std::max(waits, saves);
    const std::string& trouble = waits >= saves ? report.disk_trouble() : save_->trouble;
    if (trouble.empty() && longest <= kWorthTelling) return;
    AddShard(s, longest,
             trouble.empty() ? std::string("its disk has not taken what it was given yet")
                             : absl::StrCat("its disk takes nothing: ", trouble));
  }

  void AddShard(uint32_t s, absl::Duration since, std::string reason) {
    v1::WaitingFor* wait = status_.add_waiting_for();
    wait->set_shard_index(s);
    wait->set_name(core_.shards()[s].address);
    wait->set_since_seconds(absl::ToDoubleSeconds(since));
    wait->set_reason(std::move(reason));
  }

  // The round under way is one of which the coordinator decides who makes it.
  bool Deciding() const {
    return core_.options().policy.decides() && core_.state() == RunState::kTraining && status_.round() > 0 &&
           core_.decider().generation() == core_.generation();
  }

  // How many contributions such a round lacks before it can end, and of how many.
  uint32_t Lacking() const {
    const auto ready = static_cast<uint32_t>(core_.decider().ready().size());
    return core_.decider().needed() - std::min(ready, core_.decider().needed());
  }

  // "1 more of quorum 3".
  std::string Lack() const {
    const bool quorum = core_.options().policy.kind == core::RoundPolicy::Kind::kQuorum;
    if (Lacking() == 0)
      return absl::StrCat("the deadline (", absl::FormatDuration(core_.options().policy.deadline), ")");
    return absl::StrCat(Lacking(), " more of ", quorum ? "quorum " : "at least ", core_.decider().needed());
  }

  // Under a policy that decides, no single rank is needed: rounds that go on do not wait for anybody, and one that does
  // not waits for so many, whoever they are.
  void WaitForAnyWorker(const v1::WorkerStatus& worker) {
    const absl::Duration wait = WaitFor(worker);
    if (wait < kWorthTelling || ShardsInTrouble()) return;
    if (core_.decider().round() > Round(status_.round())) return;  // decided, and not complete yet
    const absl::Duration unheard = now_ - core_.seats()[worker.rank()].heard;
    const std::string any = absl::StrCat("; the round waits for ", Lack());
    switch (worker.state()) {
      case v1::WorkerStatus::LOST:
        return AddWorker(worker, wait, absl::StrCat("lost: no heartbeat for ", Age(unheard), any));
      case v1::WorkerStatus::SILENT:
        return AddWorker(worker, wait, absl::StrCat("silent: no heartbeat", any));
      case v1::WorkerStatus::ACTIVE:
        return AddWorker(worker, wait, absl::StrCat("alive, but its contribution is missing", any));
      default:
        return;
    }
  }

  // Ranks that are lost while rounds go on: nobody waits for them, but everybody should know.
  std::string GoneMeanwhile() const {
    std::vector<std::string> gone;
    for (const v1::WorkerStatus& worker : status_.workers()) {
      if (worker.state() != v1::WorkerStatus::LOST) continue;
      gone.push_back(absl::StrCat("rank ", worker.rank(), " (", worker.name(), "), lost: no heartbeat for ",
                                  Age(absl::Seconds(worker.heartbeat_age_seconds()))));
    }
    return gone.empty() ? "" : absl::StrCat(", without ", absl::StrJoin(gone, " and "));
  }

  void WaitForWorker(const v1::WorkerStatus& worker) {
    const Seat& seat = core_.seats()[worker.rank()];
    // Room for whoever comes, but nobody has to; and whoever has only come holds nobody up.
    const bool absent = worker.state() == v1::WorkerStatus::ABSENT || worker.state() == v1::WorkerStatus::JOINED;
    if (absent && !seat.expected) return;
    if (Deciding()) return WaitForAnyWorker(worker);
    const absl::Duration wait = WaitFor(worker);
    const bool training = core_.generation() > Generation(0);
    const absl::Duration waiting = training ? wait : now_ - core_.state_since();
    switch (worker.state()) {
      case v1::WorkerStatus::ABSENT:
        return AddWorker(worker, std::max(waiting, now_ - core_.state_since()),
                         "nobody holds this rank: start a worker");
      case v1::WorkerStatus::JOINED:
        return AddWorker(worker, now_ - seat.since, "has joined, but not defined the model yet");
      case v1::WorkerStatus::LOST:
        return AddWorker(
            worker, std::max(wait, now_ - seat.heard),
            absl::StrCat("lost: no heartbeat for ", Age(now_ - seat.heard), "; it or a replacement must come"));
      case v1::WorkerStatus::SILENT:
        return AddWorker(worker, std::max(wait, now_ - seat.heard), "silent: no heartbeat");
      case v1::WorkerStatus::ACTIVE:
        if (wait < kWorthTelling || ShardsInTrouble()) return;
        return AddWorker(worker, wait, "alive, but its contribution is missing");
      default:
        return;
    }
  }

  void AddWorker(const v1::WorkerStatus& worker, absl::Duration since, std::string reason) {
    v1::WaitingFor* wait = status_.add_waiting_for();
    wait->set_rank(worker.rank());
    wait->set_name(worker.name());
    wait->set_since_seconds(absl::ToDoubleSeconds(since));
    wait->set_reason(std::move(reason));
    *wait->mutable_missing() = worker.missing();
  }

  // ---- In one sentence ----

  void Judge() {
    const double lease = absl::ToDoubleSeconds(core_.options().lease);
    bool healthy = core_.state() == RunState::kTraining || core_.state() == RunState::kDone;
    for (const v1::WaitingFor& wait : status_.waiting_for()) healthy = healthy && wait.since_seconds() <= lease;
    for (const v1::WorkerStatus& worker : status_.workers())
      healthy = healthy && worker.state() != v1::WorkerStatus::LOST;
    status_.set_healthy(healthy);
    status_.set_summary(Summary());
  }

  std::string Summary() const {
    if (core_.state() == RunState::kFailed) return absl::StrCat("the run has failed: ", core_.failure());
    if (core_.state() == RunState::kDone) return "the run is done: every worker has left";
    std::string doing = Doing();
    if (status_.waiting_for().empty()) return Deciding() ? doing + GoneMeanwhile() : doing;
    const v1::WaitingFor& first = status_.waiting_for(0);
    if (Deciding() && first.has_rank()) return absl::StrCat(doing, ", waits for ", Lack(), " for ", LongestWait());
    const std::string who = first.has_rank() ? absl::StrCat("rank ", first.rank(), first.name().empty() ? "" : " (",
                                                            first.name(), first.name().empty() ? "" : ")")
                                             : absl::StrCat("shard ", first.shard_index());
    const int more = status_.waiting_for_size() - 1;
    return absl::StrCat(doing, ", waits for ", who, more > 0 ? absl::StrCat(" and ", more, " more") : "", " for ",
                        Age(absl::Seconds(first.since_seconds())), ": ", first.reason());
  }

  // "7 s: missing are ranks 1, 2 (lost)".
  std::string LongestWait() const {
    double longest = 0;
    std::vector<std::string> missing;
    for (const v1::WaitingFor& wait : status_.waiting_for()) {
      if (!wait.has_rank()) continue;
      longest = std::max(longest, wait.since_seconds());
      const auto state = status_.workers(static_cast<int>(wait.rank())).state();
      missing.push_back(absl::StrCat(wait.rank(), state == v1::WorkerStatus::LOST     ? " (lost)"
                                                  : state == v1::WorkerStatus::SILENT ? " (silent)"
                                                                                      : ""));
    }
    return absl::StrCat(Age(absl::Seconds(longest)), ": missing ", missing.size() == 1 ? "is rank " : "are ranks ",
                        absl::StrJoin(missing, ", "));
  }

  std::string Doing() const {
    switch (core_.state()) {
      case RunState::kWaitingForShards:
        return "waiting for shards to come";
      case RunState::kWaitingForWorkers:
        return core_.generation() == Generation(0) ? "waiting for workers to join"
                                                   : "waiting for a rank to be taken again";
      case RunState::kSealing:
      case RunState::kInstalling:
        return absl::StrCat("changing to generation ", core_.generation().value());
      default:
        return status_.round() == 0 ? "receiving the initial values"
                                    : absl::StrCat("round ", status_.round(), " is under way");
    }
  }

  const core::CoordinatorCore& core_;
  const std::vector<ReportedShard>& shards_;
  const RoundHistory& rounds_;
  const absl::Time now_;
  const std::optional<SlowSave>& save_;
  v1::Status status_;
};

}  // namespace

absl::Duration SilentAfter(absl::Duration lease) { return lease * 2 / 5; }

bool RoundHistory::BlamesTheLast(const v1::RoundRecord& record, const v1::RoundRecord* before) {
  const bool follows = before != nullptr && before->version() + 1 == record.version();
  return record.participants_size() > 1 && (!follows || before->generation() == record.generation());
}

void RoundHistory::Blame(const v1::RoundRecord& record, Lateness& lateness) {
  const absl::Duration by = absl::Seconds(record.last_by_seconds());
  ++lateness.last;
  lateness.last_by += by;
  lateness.last_by_most = std::max(lateness.last_by_most, by);
}

Lateness RoundHistory::LatenessOf(uint32_t rank) const {
  const auto at = settled_.find(rank);
  Lateness lateness = at == settled_.end() ? Lateness() : at->second;
  const v1::RoundRecord* before = dropped_ ? &*dropped_ : nullptr;
  for (const v1::RoundRecord& record : records_) {
    if (record.last_rank() == rank && BlamesTheLast(record, before)) Blame(record, lateness);
    before = &record;
  }
  return lateness;
}

void RoundHistory::Add(const v1::RoundRecord& record) {
  if (dropped_ && record.version() <= dropped_->version()) return;  // settled
  auto at = std::lower_bound(records_.begin(), records_.end(), record.version(),
                             [](const v1::RoundRecord& r, uint64_t version) { return r.version() < version; });
  if (at == records_.end() || at->version() != record.version()) {
    records_.insert(at, record);
  } else if (record.generation() > at->generation() ||
             (record.generation() == at->generation() && record.seconds() > at->seconds())) {
    *at = record;
  }
  if (records_.size() <= kMostRecords) return;
  const v1::RoundRecord& oldest = records_.front();
  if (BlamesTheLast(oldest, dropped_ ? &*dropped_ : nullptr)) Blame(oldest, settled_[oldest.last_rank()]);
  dropped_ = std::move(records_.front());
  records_.pop_front();
}

const v1::RoundRecord* RoundHistory::Find(uint64_t version) const {
  const auto at = std::lower_bound(records_.begin(), records_.end(), version,
                                   [](const v1::RoundRecord& r, uint64_t v) { return r.version() < v; });
  return at != records_.end() && at->version() == version ? &*at : nullptr;
}

v1::Status DescribeRun(const core::CoordinatorCore& core, const std::vector<ReportedShard>& shards,
                       const RoundHistory& rounds, uint32_t most_rounds, absl::Time now,
                       const std::optional<SlowSave>& save) {
  return Describer(core, shards, rounds, now, save).Describe(most_rounds);
}

}  // namespace lockstep::service
