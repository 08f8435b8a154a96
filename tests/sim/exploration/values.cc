#include "tests/sim/exploration/values.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lockstep::exploration {

ValueId Values::Make(ValueId before, Generation completed_in, std::vector<Member> contributors) {
  Value value{
      .before = before, .version = Next(before), .completed_in = completed_in, .contributors = std::move(contributors)};
  const auto [at, is_new] = ids_.try_emplace(std::move(value), static_cast<ValueId>(values_.size() + 1));
  if (is_new) values_.push_back(&at->first);
  return at->second;
}

bool Values::LeadsTo(ValueId earlier, ValueId later) const {
  while (Next(later) > Next(earlier)) later = Before(later);
  return later == earlier;
}

std::string Values::Text(ValueId id) const {
  if (id == kNoValue) return "nothing";
  const Value& value = (*this)[id];
  const std::string who = absl::StrJoin(value.contributors, "+", [](std::string* out, const Member& member) {
    absl::StrAppend(out, member.rank.value(), ".", member.incarnation.value());
  });
  const std::string before = value.before == kNoValue ? "" : Text(value.before) + ", ";
  return absl::StrCat(before, value.version.value(), " (generation ", value.completed_in.value(), ", ranks ", who, ")");
}

std::vector<Rank> RanksOf(const std::vector<Member>& members) {
  std::vector<Rank> ranks;
  for (const Member& member : members) ranks.push_back(member.rank);
  return ranks;
}

}  // namespace lockstep::exploration
