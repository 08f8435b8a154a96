#include "deploy/ctl/tables.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "deploy/ctl/status_groups.h"
#include "deploy/ctl/table.h"
#include "deploy/ctl/words.h"

namespace lockstep::ctl {
namespace {

using Cells = std::vector<std::string>;

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

// `wide` cells follow `narrow` ones if they are asked for.
Cells Join(Cells narrow, const Cells& wide, Width width) {
  if (width == Width::kWide) narrow.insert(narrow.end(), wide.begin(), wide.end());
  return narrow;
}

std::vector<Table::Column> Join(std::vector<Table::Column> narrow, const std::vector<Table::Column>& wide,
                                Width width) {
  if (width == Width::kWide) narrow.insert(narrow.end(), wide.begin(), wide.end());
  return narrow;
}

Colour ColourOf(v1::WorkerStatus::State state) {
  switch (state) {
    case v1::WorkerStatus::SILENT:
      return Colour::kWarning;
    case v1::WorkerStatus::LOST:
      return Colour::kBad;
    case v1::WorkerStatus::ABSENT:
    case v1::WorkerStatus::LEFT:
      return Colour::kDim;
    default:
      return Colour::kNone;
  }
}

Colour ColourOf(v1::ShardStatus::State state) {
  if (state == v1::ShardStatus::UP) return Colour::kNone;
  return state == v1::ShardStatus::SILENT ? Colour::kWarning : Colour::kBad;
}

// Nobody has ever held the rank: it has no heartbeat and no age.
bool HasHolder(const v1::WorkerStatus& worker) { return worker.state() != v1::WorkerStatus::ABSENT; }

std::string CameLast(const v1::WorkerStatus& worker) {
  if (worker.last_count() == 0) return "-";
  const double mean = worker.last_by_seconds() / static_cast<double>(worker.last_count());
  return absl::StrCat(worker.last_count(), "x, ", FormatSeconds(worker.last_by_seconds()), " (mean ",
                      FormatSeconds(mean), ", most ", FormatSeconds(worker.last_by_most_seconds()), ")");
}

Cells WorkerCells(const v1::WorkerStatus& worker, Width width) {
  const bool held = HasHolder(worker);
  return Join({absl::StrCat(worker.rank()), OrDash(worker.name()), StateName(worker.state()),
               held ? FormatSeconds(worker.heartbeat_age_seconds()) : "-",
               held ? FormatSeconds(worker.state_seconds()) : "-", absl::StrCat(worker.replacements()),
               CameLast(worker), worker.missed() == 0 ? "-" : absl::StrCat(worker.missed())},
              {held ? absl::StrFormat("%016x", worker.incarnation()) : "-", OrDash(FormatMissing(worker.missing()))},
              width);
}

std::string ClosedBlocks(const v1::ShardStatus& shard) {
  return absl::StrCat(shard.closed_blocks(), "/", shard.blocks());
}

Cells ShardCells(const v1::ShardStatus& shard, Width width) {
  return Join({absl::StrCat(shard.shard_index()), OrDash(shard.address()), StateName(shard.state()),
               FormatVersion(shard), FormatSeconds(shard.report_age_seconds()), absl::StrCat(shard.generation()),
               ClosedBlocks(shard), FormatBytes(shard.parameter_bytes())},
              {FormatBytes(shard.contribution_bytes()), absl::StrCat(shard.duplicates()), absl::StrCat(shard.stale()),
               FormatBytes(shard.memory_bound_bytes())},
              width);
}

std::string NameOf(const v1::Status& status, uint32_t rank) {
  for (const v1::WorkerStatus& worker : status.workers()) {
    if (worker.rank() == rank && !worker.name().empty()) {
      return absl::StrCat("rank ", rank, " (", worker.name(), ")");
    }
  }
  return absl::StrCat("rank ", rank);
}

std::string LastToCome(const v1::Status& status, int index) {
  const v1::RoundRecord& round = status.rounds(index);
  if (round.participants_size() > 1 && !BlamesTheLast(status, index)) return "- (new generation)";
  return round.participants().empty() ? "-" : NameOf(status, round.last_rank());
}

Cells RoundCells(const v1::Status& status, int index, Width width) {
  const v1::RoundRecord& round = status.rounds(index);
  const std::vector<uint32_t> ranks(round.participants().begin(), round.participants().end());
  const std::string late = BlamesTheLast(status, index) ? FormatSeconds(round.last_by_seconds()) : "-";
  return Join({absl::StrCat(round.version()), FormatSeconds(round.seconds()), absl::StrCat(ranks.size()),
               LastToCome(status, index), late},
              {FormatSeconds(round.collect_seconds()), FormatSeconds(round.journal_seconds()),
               absl::StrCat(round.generation()), OrDash(FormatRanges(ranks))},
              width);
}

}  // namespace

std::string WorkersTable(const v1::Status& status, Width width, const Paint& paint) {
  Table table(Join({{"RANK", Align::kRight},
                    {"NAME", Align::kLeft},
                    {"STATE", Align::kLeft},
                    {"HEARTBEAT", Align::kRight},
                    {"HELD", Align::kRight},
                    {"REPLACED", Align::kRight},
                    {"CAME LAST", Align::kLeft},
                    {"MISSED", Align::kRight}},
                   {{"INCARNATION", Align::kLeft}, {"MISSING", Align::kLeft}}, width));
  for (const v1::WorkerStatus& worker : status.workers()) {
    table.Add(WorkerCells(worker, width), ColourOf(worker.state()));
  }
  return table.ToString(paint);
}

std::string ShardsTable(const v1::Status& status, Width width, const Paint& paint) {
  Table table(Join({{"SHARD", Align::kRight},
                    {"ADDRESS", Align::kLeft},
                    {"STATE", Align::kLeft},
                    {"VERSION", Align::kRight},
                    {"REPORTED", Align::kRight},
                    {"GENERATION", Align::kRight},
                    {"CLOSED", Align::kRight},
                    {"PARAMETERS", Align::kRight}},
                   {{"CONTRIBUTIONS", Align::kRight},
                    {"DUPLICATES", Align::kRight},
                    {"STALE", Align::kRight},
                    {"MEMORY BOUND", Align::kRight}},
                   width));
  for (const v1::ShardStatus& shard : status.shards()) {
    table.Add(ShardCells(shard, width), ColourOf(shard.state()));
  }
  return table.ToString(paint);
}

std::string RoundsTable(const v1::Status& status, uint32_t most, Width width, const Paint& paint) {
  Table table(Join({{"VERSION", Align::kRight},
                    {"TOOK", Align::kRight},
                    {"WORKERS", Align::kRight},
                    {"LAST", Align::kLeft},
                    {"BY", Align::kRight}},
                   {{"COLLECTED IN", Align::kRight},
                    {"JOURNALED IN", Align::kRight},
                    {"GENERATION", Align::kRight},
                    {"PARTICIPANTS", Align::kLeft}},
                   width));
  for (int i = 0; i < std::min(status.rounds_size(), static_cast<int>(most)); ++i) {
    table.Add(RoundCells(status, i, width));
  }
  return table.ToString(paint);
}

}  // namespace lockstep::ctl
