#ifndef LOCKSTEP_TESTS_SERVER_COMPUTE_GOLDEN_H_
#define LOCKSTEP_TESTS_SERVER_COMPUTE_GOLDEN_H_

#include <fstream>
#include <nlohmann/json.hpp>

namespace lockstep::compute {

// Returns what PyTorch computed (golden/make_golden.py). Throws, and so fails the test, if the file
// isn't there or isn't JSON.
inline nlohmann::json LoadGolden() {
  std::ifstream file("tests/server/compute/golden/torch_golden.json");
  return nlohmann::json::parse(file);
}

}  // namespace lockstep::compute

#endif  // LOCKSTEP_TESTS_SERVER_COMPUTE_GOLDEN_H_
