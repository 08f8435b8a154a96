#include "deploy/ctl/status_text.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "deploy/ctl/status_groups.h"
#include "deploy/ctl/words.h"

namespace lockstep::ctl {
namespace {

// Heading, run, these three, a line for those left out of each, rounds and model: 23.
constexpr size_t kMaxHeadingLines = 3;
constexpr size_t kMaxWaitingLines = 5;
constexpr size_t kMaxWorkerLines = 5;
constexpr size_t kMaxShardLines = 4;
constexpr size_t kTitleColumns = 9;
constexpr size_t kMaxNames = 3;

// A paragraph: its first line carries the title, the others are indented to match.
class Section {
 public:
  Section(absl::string_view title, size_t max_lines) : title_(title), max_lines_(max_lines) {}

  // `count` is how many workers or shards the line speaks of, in case it does not fit.
  void Add(absl::string_view text, size_t count = 1) {
    const std::vector<std::string> lines =
        absl::StrSplit(Wrap(text, kStatusColumns - kTitleColumns, /*indent=*/2), '\n');
    if (left_out_ > 0 || lines_.size() + lines.size() > max_lines_) {
      left_out_ += count;
    } else {
      lines_.insert(lines_.end(), lines.begin(), lines.end());
    }
  }

  std::string ToString(const Paint& paint) const {
    std::string text;
    std::vector<std::string> lines = lines_;
    if (left_out_ > 0) lines.push_back(absl::StrCat("and ", left_out_, " more (see -o wide)"));
    for (const std::string& line : lines) {
      const std::string title = text.empty() ? title_ : "";
      absl::StrAppend(&text, paint(Colour::kDim, absl::StrFormat("%-*s", kTitleColumns, title)), line, "\n");
    }
    return text;
  }

 private:
  std::string title_;
  size_t max_lines_;
  std::vector<std::string> lines_;
  size_t left_out_ = 0;
};

// Texts from elsewhere must not break the layout.
std::string OneLine(absl::string_view text) {
  return absl::StrReplaceAll(absl::StripAsciiWhitespace(text), {{"\n", " "}, {"\r", " "}});
}

Colour HealthColour(const v1::Status& status) {
  if (status.state() == v1::Status::FAILED) return Colour::kBad;
  if (!status.healthy()) return Colour::kBad;
  return status.waiting_for().empty() ? Colour::kGood : Colour::kWarning;
}

std::string Headline(const v1::Status& status, const Paint& paint) {
  const std::string health = status.healthy() ? "healthy" : "NOT HEALTHY";
  const std::string state = absl::AsciiStrToUpper(StateWords(status.state()));
  const std::string line = absl::StrCat(paint(HealthColour(status), absl::StrCat(state, "  ", health)), "  ",
                                        paint(Colour::kBold, OneLine(status.summary())));
  const std::vector<std::string> lines = absl::StrSplit(Wrap(line, kStatusColumns, kTitleColumns), '\n');
  // A failure may be told at length: the last line has all the rest.
  std::string text = lines.front();
  for (size_t i = 1; i < lines.size(); ++i) {
    absl::StrAppend(&text, i < kMaxHeadingLines ? "\n" : " ",
                    i < kMaxHeadingLines ? lines[i] : absl::StripLeadingAsciiWhitespace(lines[i]));
  }
  return text + "\n";
}

std::string RunLine(const v1::Status& status) {
  const std::string version = status.has_version() ? absl::StrCat("version ", status.version()) : "no version yet";
  return absl::StrCat("run ", status.run_id(), ", ", version, ", round ", status.round(), ", generation ",
                      status.generation(), ", up ", FormatSeconds(status.uptime_seconds()), ", lease ",
                      FormatSeconds(status.lease_seconds()), "\n");
}

// `summary` is what the heading says.
std::string WaitingLine(const WaitingGroup& group, const std::string& summary, const Paint& paint) {
  std::string line =
      absl::StrCat("for ", paint(Colour::kBold, group.Who()), " for ", FormatSeconds(group.since_seconds));
  const std::string reason = OneLine(group.entries.front()->reason());
  if (!reason.empty() && !absl::StrContains(summary, reason)) absl::StrAppend(&line, ": ", reason);
  if (!group.missing.empty()) absl::StrAppend(&line, "; missing: ", group.missing);
  return line;
}

// The heading names nobody else.
bool IsAllOf(const v1::Status& status, const WaitingGroup& group) {
  return group.entries.size() == 1 && status.waiting_for_size() == 1;
}

std::string WaitingSection(const v1::Status& status, const Paint& paint) {
  Section section("waits", kMaxWaitingLines);
  const std::string summary = OneLine(status.summary());
  for (const WaitingGroup& group : GroupWaiting(status)) {
    if (group.missing.empty() && IsAllOf(status, group) && absl::StrContains(summary, group.Who())) continue;
    section.Add(WaitingLine(group, summary, paint), group.entries.size());
  }
  return section.ToString(paint);
}

// "worker-3, last heard 8.2 s ago".
std::string Detail(const v1::WorkerStatus& worker) {
  std::string name = worker.name().empty() ? absl::StrCat("rank ", worker.rank()) : worker.name();
  return absl::StrCat(name, ", last heard ", FormatSeconds(worker.heartbeat_age_seconds()), " ago");
}

std::string Details(const WorkerGroup& group) {
  std::vector<std::string> details;
  for (const v1::WorkerStatus* worker : group.workers) {
    if (details.size() == kMaxNames) break;
    details.push_back(Detail(*worker));
  }
  if (group.workers.size() > kMaxNames) details.push_back("...");
  return absl::StrJoin(details, "; ");
}

bool NeedsDetails(v1::WorkerStatus::State state) {
  return state == v1::WorkerStatus::SILENT || state == v1::WorkerStatus::LOST;
}

Colour ColourOf(v1::WorkerStatus::State state) {
  if (state == v1::WorkerStatus::LOST) return Colour::kBad;
  return state == v1::WorkerStatus::SILENT || state == v1::WorkerStatus::ABSENT ? Colour::kWarning : Colour::kNone;
}

std::string WorkerLine(const WorkerGroup& group, const Paint& paint) {
  std::vector<uint32_t> ranks;
  for (const v1::WorkerStatus* worker : group.workers) ranks.push_back(worker->rank());
  std::string line = absl::StrCat(FormatRanges("rank", ranks), " ", StateName(group.state));
  if (NeedsDetails(group.state)) absl::StrAppend(&line, ": ", Details(group));
  return paint(ColourOf(group.state), line);
}

std::string WorkersSection(const v1::Status& status, const Paint& paint) {
  Section section("workers", kMaxWorkerLines);
  for (const WorkerGroup& group : GroupWorkers(status)) {
    section.Add(WorkerLine(group, paint), group.workers.size());
  }
  return section.ToString(paint);
}

// What there is to say of one shard that is on its own.
std::string ShardDetail(const v1::ShardStatus& shard) {
  if (shard.state() == v1::ShardStatus::SILENT || shard.state() == v1::ShardStatus::LOST) {
    return absl::StrCat(" at ", shard.address(), ", last report ", FormatSeconds(shard.report_age_seconds()), " ago");
  }
  if (shard.state() != v1::ShardStatus::UP) return "";
  return absl::StrCat(", ", shard.closed_blocks(), " of ", shard.blocks(), " blocks closed");
}

std::string ShardLine(const ShardGroup& group, const Paint& paint) {
  std::vector<uint32_t> indices;
  for (const v1::ShardStatus* shard : group.shards) indices.push_back(shard->shard_index());
  std::string line = absl::StrCat(FormatRanges(indices), " ", StateName(group.state));
  if (const std::string versions = group.Versions(); !versions.empty()) absl::StrAppend(&line, ", ", versions);
  if (group.shards.size() == 1) line += ShardDetail(*group.shards.front());
  return paint(group.state == v1::ShardStatus::UP ? Colour::kNone : Colour::kBad, line);
}

std::string ShardsSection(const v1::Status& status, const Paint& paint) {
  Section section("shards", kMaxShardLines);
  for (const ShardGroup& group : GroupShards(status)) {
    section.Add(ShardLine(group, paint), group.shards.size());
  }
  return section.ToString(paint);
}

// Who came last most often, if that says anything.
std::string OftenLast(const v1::Status& status) {
  std::map<uint32_t, int> times;
  for (int i = 0; i < status.rounds_size(); ++i) {
    if (BlamesTheLast(status, i)) ++times[status.rounds(i).last_rank()];
  }
  const auto most =
      std::max_element(times.begin(), times.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == times.end() || most->second * 2 <= status.rounds_size()) return "";
  return absl::StrCat("; rank ", most->first, " came last in ", most->second, " of them");
}

std::string RoundsSection(const v1::Status& status, const Paint& paint) {
  std::vector<double> seconds;
  for (const v1::RoundRecord& round : status.rounds()) seconds.push_back(round.seconds());
  if (seconds.empty()) return "";
  std::sort(seconds.begin(), seconds.end());
  Section section("rounds", 1);
  section.Add(absl::StrCat("the last ", seconds.size() == 1 ? "one" : absl::StrCat(seconds.size()), " took ",
                           FormatSeconds(seconds[seconds.size() / 2]), " (median), at most ",
                           FormatSeconds(seconds.back()), OftenLast(status)));
  return section.ToString(paint);
}

uint64_t Elements(const v1::TensorSpec& tensor) {
  uint64_t elements = 1;
  for (const int64_t dimension : tensor.shape()) elements *= static_cast<uint64_t>(dimension);
  return elements;
}

std::string CheckpointSection(const v1::Status& status, const Paint& paint) {
  const v1::CheckpointStatus& checkpoints = status.checkpoints();
  Section section("saved", 2);
  if (checkpoints.has_newest()) {
    section.Add(absl::StrCat("checkpoint of version ", checkpoints.newest_version(), ", ",
                             FormatSeconds(checkpoints.newest_age_seconds()), " ago, in ",
                             OneLine(checkpoints.folder())));
  }
  if (!checkpoints.trouble().empty()) {
    section.Add(paint(Colour::kBad, absl::StrCat("NO newer checkpoint: ", OneLine(checkpoints.trouble()))));
  }
  if (status.durability() == "checkpoint") {
    section.Add(paint(Colour::kWarning, "no journal: versions since the last checkpoint are not durable"));
  }
  return section.ToString(paint);
}

// Loud: people must see it long after it has happened.
std::string RollbackSection(const v1::Status& status, const Paint& paint) {
  if (!status.has_rolled_back() && status.warning().empty()) return "";
  Section section("WARNING", 4);
  if (status.has_rolled_back()) {
    const v1::RolledBack& back = status.rolled_back();
    section.Add(paint(Colour::kBad,
                      absl::StrCat("ROLLED BACK from version ", back.from_version(), " to ", back.to_version(),
                                   back.times() > 1 ? absl::StrCat(" (", back.times(), " times in this run)") : "",
                                   ": ", OneLine(back.reason()))));
  }
  if (!status.warning().empty()) section.Add(paint(Colour::kBad, OneLine(status.warning())));
  return section.ToString(paint);
}

std::string ModelSection(const v1::Status& status, const Paint& paint) {
  if (status.model().tensors().empty()) return "";
  uint64_t elements = 0;
  for (const v1::TensorSpec& tensor : status.model().tensors()) elements += Elements(tensor);
  Section section("model", 1);
  section.Add(absl::StrCat(FormatCount(static_cast<uint64_t>(status.model().tensors_size()), "tensor"), ", ",
                           FormatCount(elements, "element"), "; ", status.optimizer().optimizer(), ", lr ",
                           status.optimizer().lr()));
  return section.ToString(paint);
}

}  // namespace

std::string StatusText(const v1::Status& status, const Paint& paint) {
  return absl::StrCat(Headline(status, paint), RunLine(status), RollbackSection(status, paint),
                      WaitingSection(status, paint), WorkersSection(status, paint), ShardsSection(status, paint),
                      RoundsSection(status, paint), CheckpointSection(status, paint), ModelSection(status, paint));
}

}  // namespace lockstep::ctl
