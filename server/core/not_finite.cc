#include "server/core/not_finite.h"

#include "absl/strings/str_cat.h"

namespace lockstep::core {

bool CanDrop(const FoundNotFinite& found) {
  return found.in == FoundNotFinite::In::kContribution && found.round > Round(0);
}

std::string Describe(const FoundNotFinite& found, const std::string& name) {
  const std::string where = absl::StrCat("element ", found.index, " of tensor '", found.tensor, "'");
  const std::string who = absl::StrCat("rank ", found.rank.value(), " (worker '", name, "')");
  const std::string round = absl::StrCat("round ", found.round.value(), ": ");
  switch (found.in) {
    case FoundNotFinite::In::kContribution:
      if (found.round == Round(0)) {
        return absl::StrCat("the initial values that ", who, " brought have ", found.value, " at ", where);
      }
      return absl::StrCat(round, who, " contributed ", found.value, " at ", where);
    case FoundNotFinite::In::kSum:
      return absl::StrCat(round, "every contribution is finite, but their weighted sum overflows: it is ", found.value,
                          " at ", where, "; smaller weights or gradients are needed");
    case FoundNotFinite::In::kUpdate:
      return absl::StrCat(round, "the mean gradient is finite, but the optimizer's step overflows: the parameters get ",
                          found.value, " at ", where, "; a smaller learning rate is needed");
  }
  return "";
}

}  // namespace lockstep::core
