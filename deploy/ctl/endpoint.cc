#include "deploy/ctl/endpoint.h"

#include <sys/stat.h>

#include <cstdint>
#include <fstream>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/identity.h"

namespace lockstep::ctl {
namespace {

bool IsRegularFile(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

absl::Status NotAnAddress(absl::string_view address, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", absl::CHexEscape(address.substr(0, 80)), "' is not an address: ", why,
                   ". Expected HOST:PORT, for example 127.0.0.1:7700, or a file that holds it"));
}

absl::StatusOr<std::string> ReadAddress(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!IsRegularFile(path) || !file) {
    return absl::UnavailableError(
        absl::StrCat("cannot read the endpoint from the file '", path,
                     "'. Is the run started, and is the path right? train-local writes its address "
                     "to DIR/endpoint as soon as shard 0 listens"));
  }
  std::getline(file, line);
  line = std::string(absl::StripAsciiWhitespace(line));
  if (absl::Status status = CheckHostPort(line); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("the file '", path, "': ", status.message()));
  }
  return line;
}

}  // namespace

absl::Status CheckHostPort(absl::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return NotAnAddress(address, "it has no port");
  const absl::string_view host = address.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (host.empty()) return NotAnAddress(address, "it has no host");
  if (!bracketed && host.find(':') != absl::string_view::npos) {
    return NotAnAddress(address, "an IPv6 host goes into brackets, as in [::1]:7000");
  }
  if (host.find_first_of(" /\t") != absl::string_view::npos) {
    return NotAnAddress(address, "a host has no spaces and no slashes");
  }
  uint32_t port = 0;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return NotAnAddress(address, "the port must be a number from 1 to 65535");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ResolveEndpoint(const std::string& text) {
  if (text.empty()) {
    return absl::InvalidArgumentError(
        "no endpoint: pass --endpoint HOST:PORT (or the file that holds it, such as "
        "run/endpoint), or set LOCKSTEP_ENDPOINT");
  }
  const bool is_url = text.find("://") != std::string::npos;
  if (!is_url && (text.find('/') != std::string::npos || IsRegularFile(text))) {
    return ReadAddress(text);
  }
  const std::string address = WithPort(text);
  if (absl::Status status = CheckHostPort(address); !status.ok()) return status;
  return address;
}

absl::StatusOr<std::string> AwaitEndpoint(const std::string& text) {
  constexpr absl::Duration kPollInterval = absl::Milliseconds(200);
  absl::StatusOr<std::string> endpoint = ResolveEndpoint(text);
  if (absl::IsUnavailable(endpoint.status())) {
    std::cerr << "lockstepctl: waits for the file '" << text
              << "', which train-local writes as soon as shard 0 listens\n";
  }
  while (absl::IsUnavailable(endpoint.status())) {
    absl::SleepFor(kPollInterval);
    endpoint = ResolveEndpoint(text);
  }
  return endpoint;
}

}  // namespace lockstep::ctl
