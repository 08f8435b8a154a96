#include "server/storage/json_fields.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::storage {
namespace {

using nlohmann::json;

bool IsNumber(const json& value, uint64_t most) { return value.is_number_unsigned() && value.get<uint64_t>() <= most; }

std::string Shortened(const json& value) {
  constexpr size_t kLongest = 60;
  const std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= kLongest ? text : absl::StrCat(text.substr(0, kLongest), "...");
}

const json& EmptyObject() {
  static const json* const empty = new json(json::object());
  return *empty;
}

}  // namespace

JsonFields::JsonFields(const json& json, std::string where, absl::Status* status)
    : json_(&json), where_(std::move(where)), status_(status) {}

uint64_t JsonFields::Number(absl::string_view key, uint64_t most) {
  const json* value = Find(key);
  if (value == nullptr) return 0;
  if (IsNumber(*value, most)) return value->get<uint64_t>();
  FailExpecting(key, absl::StrCat("a number from 0 to ", most), *value);
  return 0;
}

std::string JsonFields::Text(absl::string_view key) {
  const json* value = Find(key);
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  FailExpecting(key, "a string", *value);
  return "";
}

std::vector<uint64_t> JsonFields::Numbers(absl::string_view key, uint64_t most) {
  std::vector<uint64_t> numbers;
  const json* list = FindList(key);
  if (list == nullptr) return numbers;
  for (const json& value : *list) {
    if (IsNumber(value, most)) {
      numbers.push_back(value.get<uint64_t>());
    } else {
      FailExpecting(key, absl::StrCat("a list of numbers from 0 to ", most), value);
    }
  }
  return numbers;
}

std::vector<std::string> JsonFields::Texts(absl::string_view key) {
  std::vector<std::string> texts;
  const json* list = FindList(key);
  if (list == nullptr) return texts;
  for (const json& value : *list) {
    if (value.is_string()) {
      texts.push_back(value.get<std::string>());
    } else {
      FailExpecting(key, "a list of strings", value);
    }
  }
  return texts;
}

JsonFields JsonFields::Object(absl::string_view key) {
  const json* value = Find(key);
  return JsonFields(value == nullptr ? EmptyObject() : *value, Path(key), status_);
}

std::vector<JsonFields> JsonFields::Objects(absl::string_view key) {
  std::vector<JsonFields> objects;
  const json* list = FindList(key);
  if (list == nullptr) return objects;
  for (const json& value : *list)
    objects.emplace_back(value, absl::StrCat(Path(key), "[", objects.size(), "]"), status_);
  return objects;
}

void JsonFields::Fail(absl::string_view key, absl::string_view what) {
  status_->Update(absl::InvalidArgumentError(absl::StrCat("field '", Path(key), "': ", what)));
}

const json* JsonFields::Find(absl::string_view key) {
  if (!status_->ok()) return nullptr;
  if (!json_->is_object()) {
    status_->Update(absl::InvalidArgumentError(
        absl::StrCat("expected an object", where_.empty() ? "" : absl::StrCat(" at '", where_, "'"))));
    return nullptr;
  }
  const auto found = json_->find(std::string(key));
  if (found != json_->end()) return &*found;
  Fail(key, "is missing");
  return nullptr;
}

const json* JsonFields::FindList(absl::string_view key) {
  const json* value = Find(key);
  if (value == nullptr || value->is_array()) return value;
  FailExpecting(key, "a list", *value);
  return nullptr;
}

std::string JsonFields::Path(absl::string_view key) const {
  return where_.empty() ? std::string(key) : absl::StrCat(where_, ".", key);
}

void JsonFields::FailExpecting(absl::string_view key, absl::string_view expected, const json& found) {
  Fail(key, absl::StrCat("expected ", expected, ", but found ", Shortened(found)));
}

}  // namespace lockstep::storage
