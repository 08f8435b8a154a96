// What a version is, in place of its floats: the version that it was computed from, the generation that completed it
// and the contributors. Two histories of one version are two values.
//
//   0 <- (version 0, generation 1, {rank 0}) <- (version 1, generation 2, {rank 0, rank 1}) <- ...
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_VALUES_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_VALUES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/ids.h"

namespace lockstep::exploration {

using ValueId = uint16_t;
inline constexpr ValueId kNoValue = 0;

struct Value {
  ValueId before = kNoValue;
  Round version;
  Generation completed_in;
  std::vector<Member> contributors;  // ascending by rank
  friend auto operator<=>(const Value&, const Value&) = default;
};

class Values {
 public:
  // The version that follows `before`, or version 0.
  ValueId Make(ValueId before, Generation completed_in, std::vector<Member> contributors);
  // `id` is not kNoValue.
  const Value& operator[](ValueId id) const { return *values_[id - 1]; }
  // The round after version `id`.
  Round Next(ValueId id) const { return id == kNoValue ? Round(0) : (*this)[id].version.next(); }
  ValueId Before(ValueId id) const { return id == kNoValue ? kNoValue : (*this)[id].before; }
  // `earlier` is `later` or what it was computed from, at any distance.
  bool LeadsTo(ValueId earlier, ValueId later) const;
  std::string Text(ValueId id) const;
  // The ids are 1 to size().
  ValueId size() const { return static_cast<ValueId>(values_.size()); }

 private:
  std::map<Value, ValueId> ids_;
  std::vector<const Value*> values_;  // by id - 1
};

std::vector<Rank> RanksOf(const std::vector<Member>& members);

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_VALUES_H_
