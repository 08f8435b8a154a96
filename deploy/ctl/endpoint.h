// Where to ask: turns what people give as `--endpoint` or LOCKSTEP_ENDPOINT into HOST:PORT.
#ifndef LOCKSTEP_DEPLOY_CTL_ENDPOINT_H_
#define LOCKSTEP_DEPLOY_CTL_ENDPOINT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::ctl {

// OK for "host:7000", "10.0.0.1:7000", "[::1]:7000". INVALID_ARGUMENT says what is wrong with it.
absl::Status CheckHostPort(absl::string_view address);

// `text` is an address (without a port: that of kDefaultPort), or the path of a file whose first line is one
// (`run/endpoint`, which train-local writes). A text with a '/' and a name of an existing file are taken as a path.
// Reads the file; asks nobody on the network.
//
// INVALID_ARGUMENT: empty, or no address (in the file). UNAVAILABLE: the file is not there (yet).
absl::StatusOr<std::string> ResolveEndpoint(const std::string& text);

// The same, but if the file is not there yet, says so on stderr, looks five times a second, and blocks until it is.
absl::StatusOr<std::string> AwaitEndpoint(const std::string& text);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_ENDPOINT_H_
