// Reading the fields of a JSON object that must be exactly as expected: the first that is not becomes the error, and
// the caller asks for it once, at the end.
//
// Thread-safety: none.
#ifndef LOCKSTEP_SERVER_STORAGE_JSON_FIELDS_H_
#define LOCKSTEP_SERVER_STORAGE_JSON_FIELDS_H_

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lockstep::storage {

// Example:
//   absl::Status status;
//   JsonFields fields(json, "", &status);
//   const uint64_t version = fields.Number("version");
//   if (!status.ok()) return status;   // "field 'version': expected a number from 0 to ..., but found \"x\""
//
// After an error every method returns an empty value. `json` and `*status` must outlive it.
class JsonFields {
 public:
  // `where`: how messages name the object; empty for the outermost.
  JsonFields(const nlohmann::json& json, std::string where, absl::Status* status);

  uint64_t Number(absl::string_view key, uint64_t most = std::numeric_limits<uint64_t>::max());
  std::string Text(absl::string_view key);
  std::vector<uint64_t> Numbers(absl::string_view key, uint64_t most);
  std::vector<std::string> Texts(absl::string_view key);
  JsonFields Object(absl::string_view key);
  std::vector<JsonFields> Objects(absl::string_view key);

  // INVALID_ARGUMENT: what is wrong with a field. Only the first error is kept.
  void Fail(absl::string_view key, absl::string_view what);

 private:
  // Null when there was an error.
  const nlohmann::json* Find(absl::string_view key);
  const nlohmann::json* FindList(absl::string_view key);
  std::string Path(absl::string_view key) const;
  void FailExpecting(absl::string_view key, absl::string_view expected, const nlohmann::json& found);

  const nlohmann::json* json_;
  std::string where_;
  absl::Status* status_;
};

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_JSON_FIELDS_H_
