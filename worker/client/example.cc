// A whole training program: linear regression, y = 3 a - 2 b + 0.5, on samples that each worker draws for itself.
//
//   bazel build //server:lockstep-server //worker/client:example && cd $(bazel info bazel-bin)
//   server/lockstep-server --workers 2 --data-dir /tmp/example-run --optimizer sgd --lr 0.1 --bind 127.0.0.1:7700 &
//   worker/client/example 127.0.0.1:7700 first &
//   worker/client/example 127.0.0.1:7700 second
#include <cstdio>
#include <random>
#include <vector>

#include "worker/client/worker.h"

namespace {

constexpr uint64_t kRounds = 200;
constexpr int kBatch = 32;

// Mean gradient of the squared error over a batch. The same round and rank always draw the same samples, so that a
// worker that was killed repeats them.
void Gradient(uint64_t round, uint32_t rank, const std::vector<float>& weight, float bias, std::vector<float>& dweight,
              std::vector<float>& dbias) {
  std::minstd_rand random(static_cast<uint32_t>(round * 1000 + rank + 1));
  std::uniform_real_distribution<float> uniform(-1, 1);
  dweight = {0, 0};
  dbias = {0};
  for (int i = 0; i < kBatch; ++i) {
    const float a = uniform(random), b = uniform(random);
    const float error = weight[0] * a + weight[1] * b + bias - (3 * a - 2 * b + 0.5f);
    dweight[0] += 2 * error * a / kBatch;
    dweight[1] += 2 * error * b / kBatch;
    dbias[0] += 2 * error / kBatch;
  }
}

int Explain(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: example COORDINATOR NAME\n"), 64;
  std::vector<float> weight(2), bias(1), dweight(2), dbias(1);
  const std::vector<absl::Span<float>> parameters = {absl::MakeSpan(weight), absl::MakeSpan(bias)};
  auto worker = lockstep::Worker::Join({.coordinator = argv[1], .name = argv[2]});
  if (!worker.ok()) return Explain(worker.status());
  auto held = (*worker)->Define({{{.name = "weight", .shape = {2}}, {.name = "bias", .shape = {1}}}}, parameters);
  while (held.ok() && held->version < kRounds) {
    Gradient(held->version + 1, (*worker)->rank().value(), weight, bias[0], dweight, dbias);
    held = (*worker)->PushPull({dweight, dbias}, kBatch, parameters);
  }
  if (!held.ok()) return Explain(held.status());
  std::printf("version %d: y = %.3f a + %.3f b + %.3f\n", static_cast<int>(held->version), weight[0], weight[1],
              bias[0]);
  const absl::Status left = (*worker)->Leave();
  return left.ok() ? 0 : Explain(left);
}
