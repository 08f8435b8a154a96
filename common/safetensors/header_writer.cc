#include "common/safetensors/header_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/safetensors/format.h"
#include "common/safetensors/messages.h"

namespace lockstep::safetensors::internal {
namespace {

absl::Status CheckNames(absl::Span<const TensorSpec> sorted) {
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end(), SameName<TensorSpec>);
  if (twice != sorted.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("two tensors are named ", Quote(twice->name), ": names must be unique"));
  }
  for (const TensorSpec& tensor : sorted) {
    if (tensor.name == kMetadataKey) {
      return absl::InvalidArgumentError("a tensor cannot be named __metadata__: it is reserved");
    }
  }
  return absl::OkStatus();
}

// `text` as a JSON string. INVALID_ARGUMENT when it is not UTF-8.
absl::StatusOr<std::string> JsonString(const std::string& text) {
  using nlohmann::json;
  std::string quoted = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  // Bytes that are not UTF-8 come back as replacement characters.
  if (json::parse(quoted, nullptr, false) == json(text)) return quoted;
  return absl::InvalidArgumentError(
      absl::StrCat(Quote(text), " is not valid UTF-8, which a .safetensors header must be"));
}

absl::StatusOr<std::string> MetadataJson(const Metadata& metadata) {
  std::string json;
  for (const auto& [key, value] : metadata) {
    absl::StatusOr<std::string> key_json = JsonString(key);
    if (!key_json.ok()) return key_json.status();
    absl::StatusOr<std::string> value_json = JsonString(value);
    if (!value_json.ok()) return value_json.status();
    absl::StrAppend(&json, json.empty() ? "" : ",", *key_json, ":", *value_json);
  }
  return absl::StrCat("{", json, "}");
}

// The header's entry for a tensor at `*offset`, which moves on behind it.
absl::StatusOr<std::string> TensorJson(const TensorSpec& tensor, uint64_t* offset) {
  absl::StatusOr<std::string> name = JsonString(tensor.name);
  if (!name.ok()) return name.status();
  const std::optional<uint64_t> bytes = ShapeBytes(tensor.shape, sizeof(float));
  if (!bytes.has_value() || *bytes > kMaxDataBytes - *offset || tensor.shape.size() > kMaxDimensions) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quote(tensor.name), " has an impossible shape ",
                                                   ShapeJson(tensor.shape), ": dimensions must be 0 or more, at most ",
                                                   kMaxDimensions, " of them, and the data must fit in a file"));
  }
  const uint64_t begin = *offset;
  *offset += *bytes;
  return absl::StrCat(*name, ":{\"dtype\":\"F32\",\"shape\":", ShapeJson(tensor.shape), ",\"data_offsets\":[", begin,
                      ",", *offset, "]}");
}

}  // namespace

absl::StatusOr<std::string> HeaderJson(absl::Span<const TensorSpec> order, const Metadata& metadata,
                                       uint64_t* data_bytes) {
  absl::Status names = CheckNames(order);
  if (!names.ok()) return names;
  std::string json = "{";
  if (!metadata.empty()) {
    absl::StatusOr<std::string> entry = MetadataJson(metadata);
    if (!entry.ok()) return entry.status();
    absl::StrAppend(&json, "\"", kMetadataKey, "\":", *entry);
  }
  *data_bytes = 0;
  for (const TensorSpec& tensor : order) {
    absl::StatusOr<std::string> entry = TensorJson(tensor, data_bytes);
    if (!entry.ok()) return entry.status();
    absl::StrAppend(&json, json.size() > 1 ? "," : "", *entry);
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the header of the ", order.size(), " tensors would take ",
                                                   json.size(), " bytes; the format's limit is ", kMaxHeaderBytes));
  }
  return json;
}

}  // namespace lockstep::safetensors::internal
