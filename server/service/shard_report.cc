#include "server/service/shard_report.h"

#include "common/convert.h"

namespace lockstep::service {

v1::ShardReport DescribeRound(const core::ShardCore& core, absl::Time now) {
  v1::ShardReport report;
  report.set_generation(core.generation().value());
  report.set_next_round(core.next_round().value());
  report.set_blocks(core.blocks());
  report.set_closed_blocks(core.closed_blocks());
  for (const core::Missing& missing : core.MissingBlocks()) {
    report.add_ranks(missing.rank.value());
    report.add_missing_blocks(missing.blocks);
    report.add_awaited_blocks(missing.awaited);
  }
  if (core.serving()) report.set_waiting_seconds(absl::ToDoubleSeconds(now - core.waiting_since()));
  report.set_duplicates(core.duplicates());
  report.set_stale(core.stale());
  report.set_late(core.late());
  return report;
}

v1::RoundRecord ToProto(const core::RoundTimes& times) {
  v1::RoundRecord record;
  record.set_version(times.version.value());
  record.set_generation(times.generation.value());
  lockstep::ToProto(times.participants, record.mutable_participants());
  record.set_seconds(absl::ToDoubleSeconds(times.duration));
  record.set_collect_seconds(absl::ToDoubleSeconds(times.collect));
  record.set_last_rank(times.last.value());
  record.set_last_by_seconds(absl::ToDoubleSeconds(times.last_by));
  record.set_journal_seconds(absl::ToDoubleSeconds(times.journal));
  return record;
}

}  // namespace lockstep::service
