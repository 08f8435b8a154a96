#include "worker/trainer/metrics_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "worker/trainer/whole_file.h"

namespace lockstep::trainer {
namespace {

using Json = nlohmann::ordered_json;

// What stays of the file when it is opened again.
struct Kept {
  std::string lines;
  double elapsed_seconds = 0;
  bool dropped = false;
};

// Keeps `line` if it is whole and of a round that does not come again.
void KeepLine(const std::string& line, uint64_t version, Kept& kept) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  const bool whole = json.is_object() && json.contains("round") && json["round"].is_number_unsigned();
  if (!whole || json["round"].get<uint64_t>() > version) {
    kept.dropped = true;
    return;
  }
  kept.lines += line + "\n";
  const auto elapsed = json.find("elapsed_seconds");
  if (elapsed != json.end() && elapsed->is_number()) kept.elapsed_seconds = elapsed->get<double>();
}

Kept ReadLines(const std::string& path, uint64_t version) {
  Kept kept;
  std::ifstream in(path, std::ios::binary);
  for (std::string line; std::getline(in, line);) {
    KeepLine(line, version, kept);
    // A last line without its end would run into the next one, even if it happens to parse.
    if (in.eof()) kept.dropped = true;
  }
  return kept;
}

Json Optional(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

std::string LineOf(const RoundMetrics& metrics, double elapsed_seconds) {
  const double speed = metrics.seconds > 0 ? static_cast<double>(metrics.samples) / metrics.seconds : 0;
  const Json json = {{"round", metrics.round},
                     {"loss", Optional(metrics.loss)},
                     {"accuracy", Optional(metrics.accuracy)},
                     {"samples", metrics.samples},
                     {"samples_per_second", speed},
                     {"seconds", metrics.seconds},
                     {"participants", metrics.participants},
                     {"elapsed_seconds", elapsed_seconds},
                     {"generation", metrics.generation}};
  return json.dump() + "\n";
}

}  // namespace

absl::StatusOr<MetricsFile> MetricsFile::Open(const std::string& path, uint64_t version) {
  const Kept kept = ReadLines(path, version);
  if (kept.dropped) {
    if (absl::Status status = WriteWholeFile(path, kept.lines); !status.ok()) return status;
  }
  std::FILE* file = std::fopen(path.c_str(), "ab");
  if (file == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write metrics to ", path, ": ", std::strerror(errno)));
  }
  return MetricsFile(path, file, kept.elapsed_seconds);
}

absl::Status MetricsFile::Append(const RoundMetrics& metrics) {
  elapsed_seconds_ += metrics.seconds;
  const std::string line = LineOf(metrics, elapsed_seconds_);
  const bool written = std::fwrite(line.data(), 1, line.size(), file_.get()) == line.size();
  if (written && std::fflush(file_.get()) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot write metrics to ", path_));
}

}  // namespace lockstep::trainer
