#ifndef LOCKSTEP_SERVER_COMPUTE_NAMED_VALUES_H_
#define LOCKSTEP_SERVER_COMPUTE_NAMED_VALUES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lockstep::compute::internal {

// An enum's value and the name that people write for it.
template <class Value>
struct NamedValue {
  absl::string_view name;
  Value value;
};

// Returns the value of that name. InvalidArgument, listing all names, if there is none; `what` says
// in the message what is being named ("optimizer").
template <class Value>
absl::StatusOr<Value> ParseName(absl::string_view what, absl::Span<const NamedValue<Value>> values,
                                absl::string_view name) {
  for (const NamedValue<Value>& candidate : values) {
    if (candidate.name == name) {
      return candidate.value;
    }
  }
  const auto append = [](std::string* out, const NamedValue<Value>& known) {
    out->append(known.name.data(), known.name.size());
  };
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": expected one of ", absl::StrJoin(values, ", ", append), ", got \"", name, "\""));
}

// Returns the name of `value`, or "unknown" for a number that is none of the enum's values.
template <class Value>
absl::string_view NameOf(absl::Span<const NamedValue<Value>> values, Value value) {
  for (const NamedValue<Value>& candidate : values) {
    if (candidate.value == value) {
      return candidate.name;
    }
  }
  return "unknown";
}

}  // namespace lockstep::compute::internal

#endif  // LOCKSTEP_SERVER_COMPUTE_NAMED_VALUES_H_
