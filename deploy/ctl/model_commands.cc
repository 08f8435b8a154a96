#include "deploy/ctl/model_commands.h"

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/safetensors/safetensors.h"
#include "deploy/ctl/words.h"
#include "worker/client/reader.h"

namespace lockstep::ctl {
namespace {

// A model takes longer than a question.
constexpr absl::Duration kPullTimeout = absl::Seconds(60);

ExitCode Complain(const absl::Status& status) {
  std::cerr << "lockstepctl: " << status.message() << "\n";
  // The shards answer, but the version did not come in time.
  return absl::IsDeadlineExceeded(status) ? kNo : ExitCodeFor(status);
}

absl::StatusOr<Snapshot> PullSnapshot(const Options& options) {
  const absl::Duration timeout = options.timeout_or(kPullTimeout);
  absl::StatusOr<std::unique_ptr<Reader>> reader = Reader::Open(options.endpoint, timeout);
  if (!reader.ok()) return reader.status();
  return (*reader)->Pull(options.version, timeout);
}

// Views of the snapshot's tensors, which must outlive them.
std::vector<safetensors::TensorView> ViewsOf(const Snapshot& snapshot) {
  std::vector<safetensors::TensorView> views;
  for (const NamedTensor& tensor : snapshot.tensors) {
    views.push_back({tensor.name, tensor.shape, tensor.values});
  }
  return views;
}

uint64_t BytesOf(const Snapshot& snapshot) {
  uint64_t bytes = 0;
  for (const NamedTensor& tensor : snapshot.tensors) bytes += tensor.values.size() * sizeof(float);
  return bytes;
}

ExitCode FingerprintFile(const Options& options) {
  const absl::StatusOr<std::string> fingerprint = safetensors::Fingerprint(options.file);
  if (!fingerprint.ok()) return Complain(fingerprint.status());
  if (options.output == Output::kJson) {
    std::cout << nlohmann::ordered_json{{"fingerprint", *fingerprint}}.dump() << "\n";
  } else {
    std::cout << *fingerprint << "\n";
  }
  return kFine;
}

ExitCode FingerprintRun(const Options& options) {
  const absl::StatusOr<Snapshot> snapshot = PullSnapshot(options);
  if (!snapshot.ok()) return Complain(snapshot.status());
  const std::string fingerprint = safetensors::FingerprintOf(ViewsOf(*snapshot));
  if (options.output == Output::kJson) {
    const nlohmann::ordered_json json = {{"fingerprint", fingerprint}, {"version", snapshot->version}};
    std::cout << json.dump() << "\n";
  } else {
    std::cout << fingerprint << "\n";
    std::cerr << "version " << snapshot->version << "\n";
  }
  return kFine;
}

void ReportExport(const Options& options, const Snapshot& snapshot, const std::string& fingerprint) {
  if (options.output == Output::kJson) {
    const nlohmann::ordered_json json = {{"file", options.file},
                                         {"version", snapshot.version},
                                         {"tensors", snapshot.tensors.size()},
                                         {"bytes", BytesOf(snapshot)},
                                         {"fingerprint", fingerprint}};
    std::cout << json.dump() << "\n";
    return;
  }
  std::cout << "wrote " << options.file << ": version " << snapshot.version << ", " << snapshot.tensors.size()
            << " tensors, " << FormatBytes(BytesOf(snapshot)) << ", fingerprint " << fingerprint << "\n";
}

}  // namespace

ExitCode RunFingerprint(const Options& options) {
  return options.file.empty() ? FingerprintRun(options) : FingerprintFile(options);
}

ExitCode RunExport(const Options& options) {
  const absl::StatusOr<Snapshot> snapshot = PullSnapshot(options);
  if (!snapshot.ok()) return Complain(snapshot.status());
  const std::vector<safetensors::TensorView> views = ViewsOf(*snapshot);
  const absl::Status written =
      safetensors::WriteFile(options.file, views, {{"version", absl::StrCat(snapshot->version)}});
  if (!written.ok()) {
    std::cerr << "lockstepctl: cannot write the model: " << written.message() << "\n";
    return kOther;
  }
  ReportExport(options, *snapshot, safetensors::FingerprintOf(views));
  return kFine;
}

}  // namespace lockstep::ctl
