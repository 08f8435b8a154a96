// Colours, where they help: on a terminal, unless the person said NO_COLOR.
#ifndef LOCKSTEP_DEPLOY_CTL_PAINT_H_
#define LOCKSTEP_DEPLOY_CTL_PAINT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace lockstep::ctl {

enum class Colour { kNone, kGood, kWarning, kBad, kDim, kBold };

// Wraps text in escape sequences, or leaves it alone. A value; pure.
class Paint {
 public:
  explicit Paint(bool on) : on_(on) {}

  // On if `descriptor` is a terminal that can show colours and NO_COLOR is not set.
  static Paint For(int descriptor);

  std::string operator()(Colour colour, absl::string_view text) const;

 private:
  bool on_;
};

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_PAINT_H_
