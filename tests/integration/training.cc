#include "tests/integration/training.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace lockstep::testing {
namespace {

// A float in [-1, 1) from a place; no two places of a test are alike.
float Noise(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  uint64_t x = a * 0x9E3779B97F4A7C15u ^ b * 0xC2B2AE3D27D4EB4Fu ^ c * 0x165667B19E3779F9u ^ d * 0x27D4EB2F165667C5u;
  x ^= x >> 31;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 29;
  return static_cast<float>(static_cast<int64_t>(x >> 40)) / static_cast<float>(1 << 23) - 1.0f;
}

}  // namespace

Tiny::Tiny(std::vector<int64_t> sizes) {
  for (size_t t = 0; t < sizes.size(); ++t) {
    model_.tensors.push_back({.name = absl::StrCat("tensor-", t), .shape = {sizes[t]}});
  }
}

Tiny::Values Tiny::Initial() const {
  Values values;
  for (size_t t = 0; t < model_.tensors.size(); ++t) {
    std::vector<float>& tensor = values.emplace_back(static_cast<size_t>(model_.tensors[t].elements()));
    for (size_t i = 0; i < tensor.size(); ++i) tensor[i] = Noise(t, i, 0, 0);
  }
  return values;
}

Tiny::Values Tiny::Gradient(uint32_t rank, uint64_t round, const Values& parameters) const {
  Values gradient = parameters;
  for (size_t t = 0; t < gradient.size(); ++t) {
    for (size_t i = 0; i < gradient[t].size(); ++i) {
      gradient[t][i] = 0.1f * parameters[t][i] + Noise(t + 1, i, rank + 1, round);
    }
  }
  return gradient;
}

Tiny::Values Tiny::Reference(uint32_t workers, uint64_t rounds, float lr,
                             const std::function<float(uint32_t, uint64_t)>& weight) const {
  Values parameters = Initial();
  for (uint64_t round = 1; round <= rounds; ++round) {
    std::vector<Values> gradients;
    double total = 0;
    for (uint32_t rank = 0; rank < workers; ++rank) {
      gradients.push_back(Gradient(rank, round, parameters));
      total += weight(rank, round);
    }
    if (total == 0) continue;
    for (size_t t = 0; t < parameters.size(); ++t) {
      for (size_t i = 0; i < parameters[t].size(); ++i) {
        float sum = 0;
        bool first = true;
        for (uint32_t rank = 0; rank < workers; ++rank) {
          if (weight(rank, round) == 0) continue;
          const float term = weight(rank, round) * gradients[rank][t][i];
          sum = first ? term : sum + term;
          first = false;
        }
        parameters[t][i] = parameters[t][i] - lr * (sum / static_cast<float>(total));
      }
    }
  }
  return parameters;
}

std::vector<absl::Span<const float>> ConstSpans(const Tiny::Values& values) { return {values.begin(), values.end()}; }

std::vector<absl::Span<float>> Spans(Tiny::Values& values) {
  std::vector<absl::Span<float>> spans;
  for (std::vector<float>& tensor : values) spans.push_back(absl::MakeSpan(tensor));
  return spans;
}

absl::Status Train(const Tiny& tiny, const TrainOptions& options, Tiny::Values& values) {
  auto worker = Worker::Join({.coordinator = options.coordinator, .name = options.name, .timeout = absl::Seconds(60)});
  if (!worker.ok()) return worker.status();
  values = tiny.Initial();
  auto held = (*worker)->Define(tiny.model(), Spans(values), absl::Seconds(60));
  if (!held.ok()) return held.status();
  const uint32_t rank = (*worker)->rank().value();
  while (held->version < options.rounds) {
    const uint64_t round = held->version + 1;
    if (!options.before(**worker, round)) return absl::CancelledError("ended without leaving");
    Tiny::Values gradient = tiny.Gradient(rank, round, values);
    if (options.spoil != nullptr) options.spoil(rank, round, gradient);
    const float weight = options.weight(rank, round);
    held = (*worker)->PushPull(ConstSpans(gradient), weight, Spans(values), absl::Seconds(60));
    if (!held.ok()) return held.status();
    if (options.after != nullptr) options.after(rank, *held);
    if (held->rolled_back && options.rolled_back) {
      options.rolled_back(held->version);
    } else if (held->version != round || held->rolled_back) {
      return absl::InternalError(absl::StrCat("got version ", held->version, " in round ", round));
    }
  }
  return (*worker)->Leave();
}

}  // namespace lockstep::testing
