#include "deploy/ctl/paint.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace lockstep::ctl {
namespace {

absl::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::string_view Code(Colour colour) {
  switch (colour) {
    case Colour::kGood:
      return "32";
    case Colour::kWarning:
      return "33";
    case Colour::kBad:
      return "1;31";
    case Colour::kDim:
      return "2";
    case Colour::kBold:
      return "1";
    case Colour::kNone:
      break;
  }
  return "";
}

}  // namespace

Paint Paint::For(int descriptor) {
  return Paint(isatty(descriptor) == 1 && Environment("NO_COLOR").empty() && Environment("TERM") != "dumb");
}

std::string Paint::operator()(Colour colour, absl::string_view text) const {
  if (!on_ || colour == Colour::kNone || text.empty()) return std::string(text);
  return absl::StrCat("\x1b[", Code(colour), "m", text, "\x1b[0m");
}

}  // namespace lockstep::ctl
