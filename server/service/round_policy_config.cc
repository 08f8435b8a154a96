#include "server/service/round_policy_config.h"

#include "absl/strings/str_cat.h"

namespace lockstep::service {

using Kind = core::RoundPolicy::Kind;

v1::RoundPolicy ToProto(const core::RoundPolicy& policy) {
  v1::RoundPolicy config;
  config.set_policy(policy.kind == Kind::kAll ? "all" : policy.kind == Kind::kQuorum ? "quorum" : "deadline");
  if (!policy.decides()) return config;
  config.set_contributors(policy.contributors);
  if (policy.kind == Kind::kDeadline) config.set_deadline_seconds(absl::ToDoubleSeconds(policy.deadline));
  return config;
}

absl::StatusOr<core::RoundPolicy> FromProto(const v1::RoundPolicy& config) {
  core::RoundPolicy policy;
  if (config.policy().empty() || config.policy() == "all") return policy;
  policy.contributors = config.contributors();
  if (config.policy() == "quorum") {
    policy.kind = Kind::kQuorum;
  } else if (config.policy() == "deadline") {
    policy.kind = Kind::kDeadline;
    policy.deadline = absl::Seconds(config.deadline_seconds());
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("expected policy all, quorum or deadline, but got '", config.policy(), "'"));
  }
  return policy;
}

}  // namespace lockstep::service
