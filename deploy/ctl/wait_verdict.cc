#include "deploy/ctl/wait_verdict.h"

#include "absl/strings/str_cat.h"
#include "deploy/ctl/words.h"

namespace lockstep::ctl {
namespace {

std::string Reached(const v1::Status& status) {
  return status.has_version() ? absl::StrCat("version ", status.version()) : std::string("no version at all");
}

}  // namespace

WaitVerdict JudgeWait(const v1::Status& status, uint64_t version) {
  if (status.has_version() && status.version() >= version) return WaitVerdict::kComplete;
  const bool over = status.state() == v1::Status::DONE || status.state() == v1::Status::FAILED;
  return over ? WaitVerdict::kNever : WaitVerdict::kNotYet;
}

std::string WhyNever(const v1::Status& status, uint64_t version) {
  const bool failed = status.state() == v1::Status::FAILED;
  return absl::StrCat("version ", version, " will not come: run ", status.run_id(),
                      failed ? " failed at " : " is done at ", Reached(status), ". ", status.summary());
}

std::string WhyTimedOut(const v1::Status& status, uint64_t version, absl::Duration timeout) {
  return absl::StrCat("version ", version, " did not come within ", FormatSeconds(absl::ToDoubleSeconds(timeout)),
                      ": run ", status.run_id(), " has ", Reached(status), " (", StateWords(status.state()), "). ",
                      status.summary());
}

}  // namespace lockstep::ctl
