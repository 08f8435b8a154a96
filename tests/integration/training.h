// A tiny training loop for integration tests, and what it must come to.
#ifndef LOCKSTEP_TESTS_INTEGRATION_TRAINING_H_
#define LOCKSTEP_TESTS_INTEGRATION_TRAINING_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/model.h"
#include "worker/client/worker.h"

namespace lockstep::testing {

// A model of a few tensors, none a multiple of the others, whose values and gradients are pure functions of their
// place.
class Tiny {
 public:
  explicit Tiny(std::vector<int64_t> sizes = {1000, 7, 40000, 1});

  const ModelSpec& model() const { return model_; }
  using Values = std::vector<std::vector<float>>;
  Values Initial() const;
  // The gradient of `rank` in `round` at `parameters`.
  Values Gradient(uint32_t rank, uint64_t round, const Values& parameters) const;
  // Parameters after `rounds` rounds of plain SGD with learning rate `lr`, all `workers` contributing with `weight`s: a
  // dumb sequential reference.
  Values Reference(uint32_t workers, uint64_t rounds, float lr,
                   const std::function<float(uint32_t, uint64_t)>& weight) const;

 private:
  ModelSpec model_;
};

std::vector<absl::Span<const float>> ConstSpans(const Tiny::Values& values);
std::vector<absl::Span<float>> Spans(Tiny::Values& values);

struct TrainOptions {
  std::string coordinator;
  std::string name;
  uint64_t rounds = 10;
  std::function<float(uint32_t rank, uint64_t round)> weight = [](uint32_t, uint64_t) { return 1.0f; };
  // May change a gradient before it is contributed.
  std::function<void(uint32_t rank, uint64_t round, Tiny::Values& gradient)> spoil = nullptr;
  // Called with each round's result.
  std::function<void(uint32_t rank, const RoundResult& result)> after = nullptr;
  // Called before each contribution; returning false ends the loop without leaving, as a crash would.
  std::function<bool(Worker&, uint64_t round)> before = [](Worker&, uint64_t) { return true; };
  // The run has gone back to `version`, and training goes on from there. Null: that is an error.
  std::function<void(uint64_t version)> rolled_back = nullptr;
};

// Joins, trains to version `rounds` and leaves. `values` ends as the parameters.
absl::Status Train(const Tiny& tiny, const TrainOptions& options, Tiny::Values& values);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_INTEGRATION_TRAINING_H_
