#include "server/storage/manifest.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/safetensors/fingerprint.h"
#include "server/storage/checkpoint_names.h"
#include "server/storage/json_fields.h"

namespace lockstep::storage {
namespace {

using Json = nlohmann::ordered_json;

// The text of a manifest is its fields, kBeforeChecksum, the checksum of all that, kAfterChecksum.
constexpr absl::string_view kBeforeChecksum = ",\n  \"xxh3_128\": \"";
constexpr absl::string_view kAfterChecksum = "\"\n}\n";
constexpr size_t kChecksumDigits = 32;

std::string Checksum(absl::string_view text) {
  safetensors::Fingerprinter fingerprinter;
  fingerprinter.Update(text.data(), text.size());
  return fingerprinter.Hex();
}

bool IsChecksum(absl::string_view text) {
  return text.size() == kChecksumDigits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

absl::Status ValidateParticipants(const std::vector<Rank>& participants) {
  for (size_t i = 1; i < participants.size(); ++i) {
    if (participants[i - 1] < participants[i]) continue;
    return absl::InvalidArgumentError(absl::StrCat("participants must ascend, but ", participants[i].value(),
                                                   " comes after ", participants[i - 1].value()));
  }
  return absl::OkStatus();
}

absl::Status ValidateFile(const CheckpointFile& file, ShardIndex shard, uint32_t shards) {
  const std::string name = internal::ShardFileName(shard, shards);
  if (file.shard == shard && file.name == name && IsChecksum(file.head_xxh3_128)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("files[", shard.value(), "] should be ", name, " of shard ",
                                                 shard.value(), " with a checksum of 32 hexadecimal digits, but is '",
                                                 file.name, "' of shard ", file.shard.value(), " with '",
                                                 file.head_xxh3_128, "'"));
}

Json FieldsOf(const Manifest& manifest) {
  const CheckpointIdentity& identity = manifest.identity;
  Json participants = Json::array();
  for (Rank rank : identity.participants) participants.push_back(rank.value());
  Json state = Json::array();
  for (absl::string_view name : compute::StateSlotNames(identity.optimizer)) state.push_back(std::string(name));
  Json tensors = Json::array();
  for (const TensorSpec& tensor : manifest.model.tensors) {
    tensors.push_back({{"name", tensor.name}, {"dtype", "F32"}, {"shape", Json(tensor.shape)}});
  }
  Json files = Json::array();
  for (const CheckpointFile& file : manifest.files) {
    files.push_back({{"shard", file.shard.value()},
                     {"name", file.name},
                     {"bytes", file.bytes},
                     {"head_xxh3_128", file.head_xxh3_128}});
  }
  Json fields;
  fields["format"] = kCheckpointFormat;
  fields["run_id"] = identity.run_id;
  fields["version"] = identity.version.value();
  fields["completed_in"] = identity.completed_in.value();
  fields["participants"] = std::move(participants);
  fields["shards"] = identity.shards;
  fields["optimizer"] = {{"name", std::string(compute::OptimizerKindName(identity.optimizer))}, {"state", state}};
  fields["model"] = std::move(tensors);
  fields["files"] = std::move(files);
  return fields;
}

CheckpointIdentity IdentityFrom(JsonFields& fields) {
  CheckpointIdentity identity;
  identity.run_id = fields.Text("run_id");
  identity.version = Version(fields.Number("version"));
  identity.completed_in = Generation(fields.Number("completed_in"));
  for (uint64_t rank : fields.Numbers("participants", std::numeric_limits<uint32_t>::max())) {
    identity.participants.push_back(Rank(static_cast<uint32_t>(rank)));
  }
  identity.shards = static_cast<uint32_t>(fields.Number("shards", std::numeric_limits<uint32_t>::max()));
  JsonFields optimizer = fields.Object("optimizer");
  const absl::StatusOr<compute::OptimizerKind> kind = compute::ParseOptimizerKind(optimizer.Text("name"));
  if (!kind.ok()) {
    optimizer.Fail("name", kind.status().message());
    return identity;
  }
  identity.optimizer = *kind;
  const absl::Span<const absl::string_view> expected = compute::StateSlotNames(*kind);
  if (optimizer.Texts("state") != std::vector<std::string>(expected.begin(), expected.end())) {
    optimizer.Fail("state", "not the state that this optimizer has");
  }
  return identity;
}

ModelSpec ModelFrom(JsonFields& fields) {
  ModelSpec model;
  for (JsonFields& tensor : fields.Objects("model")) {
    if (tensor.Text("dtype") != "F32") tensor.Fail("dtype", "expected \"F32\"");
    TensorSpec& spec = model.tensors.emplace_back();
    spec.name = tensor.Text("name");
    for (uint64_t extent : tensor.Numbers("shape", std::numeric_limits<int64_t>::max())) {
      spec.shape.push_back(static_cast<int64_t>(extent));
    }
  }
  return model;
}

std::vector<CheckpointFile> FilesFrom(JsonFields& fields) {
  std::vector<CheckpointFile> files;
  for (JsonFields& file : fields.Objects("files")) {
    files.push_back(
        {.shard = ShardIndex(static_cast<uint32_t>(file.Number("shard", std::numeric_limits<uint32_t>::max()))),
         .name = file.Text("name"),
         .bytes = file.Number("bytes", std::numeric_limits<int64_t>::max()),
         .head_xxh3_128 = file.Text("head_xxh3_128")});
  }
  return files;
}

absl::Status Damaged(absl::string_view path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what, ". The manifest is damaged: use another checkpoint"));
}

absl::Status CheckChecksum(absl::string_view path, absl::string_view text) {
  const size_t tail = kChecksumDigits + kAfterChecksum.size();
  if (text.size() < kBeforeChecksum.size() + tail) {
    return Damaged(path, absl::StrCat("it has only ", text.size(), " bytes"));
  }
  if (!absl::EndsWith(text, kAfterChecksum)) {
    return Damaged(path, absl::StrCat("byte ", text.size() - kAfterChecksum.size(), ": the end is missing"));
  }
  const absl::string_view covered = text.substr(0, text.size() - tail);
  const absl::string_view expected = text.substr(covered.size(), kChecksumDigits);
  const std::string found = Checksum(covered);
  if (found != expected) {
    return Damaged(path,
                   absl::StrCat("bytes 0 to ", covered.size(), " have the checksum ", found, " where the one from ",
                                covered.size(), " on is '", absl::CHexEscape(expected), "'"));
  }
  if (absl::EndsWith(covered, kBeforeChecksum)) return absl::OkStatus();
  return Damaged(path, absl::StrCat("byte ", covered.size() - kBeforeChecksum.size(), ": no field xxh3_128"));
}

}  // namespace

absl::Status Validate(const Manifest& manifest) {
  const CheckpointIdentity& identity = manifest.identity;
  if (identity.run_id.empty()) return absl::InvalidArgumentError("run_id is empty");
  if (identity.shards == 0 || manifest.files.size() != identity.shards) {
    return absl::InvalidArgumentError(absl::StrCat("expected a file for each shard, at least one, but there are ",
                                                   manifest.files.size(), " files for ", identity.shards, " shards"));
  }
  if (absl::Status status = ValidateParticipants(identity.participants); !status.ok()) return status;
  for (uint32_t i = 0; i < identity.shards; ++i) {
    absl::Status status = ValidateFile(manifest.files[i], ShardIndex(i), identity.shards);
    if (!status.ok()) return status;
  }
  return Validate(manifest.model);
}

absl::StatusOr<std::string> EncodeManifest(const Manifest& manifest) {
  if (absl::Status status = Validate(manifest); !status.ok()) return status;
  const Json fields = FieldsOf(manifest);
  std::string text = fields.dump(2, ' ', false, Json::error_handler_t::replace);
  // What is not UTF-8 was replaced.
  if (Json::parse(text, nullptr, false) != fields) {
    return absl::InvalidArgumentError("the run's id or the name of a tensor is not valid UTF-8, which JSON must be");
  }
  text.resize(text.size() - 2);  // the newline and the brace that end the object
  absl::StrAppend(&text, kBeforeChecksum);
  const std::string checksum = Checksum(text);
  return absl::StrCat(text, checksum, kAfterChecksum);
}

absl::StatusOr<Manifest> DecodeManifest(absl::string_view path, absl::string_view text) {
  if (absl::Status status = CheckChecksum(path, text); !status.ok()) return status;
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  absl::Status status;
  JsonFields fields(json, "", &status);
  const uint64_t format = fields.Number("format");
  if (status.ok() && format != kCheckpointFormat) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": has format ", format, ", but this program reads ",
                                                      kCheckpointFormat, ": use the program that wrote it"));
  }
  Manifest manifest{.identity = IdentityFrom(fields), .model = ModelFrom(fields), .files = FilesFrom(fields)};
  if (status.ok()) status = Validate(manifest);
  if (!status.ok()) return Damaged(path, status.message());
  return manifest;
}

}  // namespace lockstep::storage
