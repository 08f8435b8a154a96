// One worker whose rounds are timed: it does nothing but PushPull, through the public client.
//
//   push_pull --coordinator HOST:PORT --rank R --bytes B --warmup W
//
// Start N of them against servers with `--optimizer aggregate --workers N`: what comes back is the mean of the
// gradients. The first round is checked element by element; then the warm-up rounds run. Then it prints `ready`, and
// for every line with a number k on standard input runs k rounds and prints
//
//   rounds t1 t2 ... tk         seconds of each round, as this rank saw it
//
// which is what gloo_ring does, so that a driver can take turns between the two. At the end of input it leaves the run.
// A round that is not timed comes before each k: it brings all ranks to the same moment, as gloo_ring's barrier does.
// When anything is wrong, it prints `error ...` on standard output and exits with 1.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/logging.h"
#include "worker/client/worker.h"

namespace lockstep {
namespace {

struct Options {
  std::string coordinator;
  uint32_t rank = 0;
  uint64_t bytes = 100'000'000;
  int warmup = 2;
  bool any_values = false;
};

class Bench {
 public:
  explicit Bench(uint64_t bytes)
      : model_{{{.name = "model", .shape = {static_cast<int64_t>(bytes / sizeof(float))}}}},
        gradient_(bytes / sizeof(float)),
        parameters_(bytes / sizeof(float)),
        gradients_{gradient_},
        targets_{absl::MakeSpan(parameters_)} {}

  absl::Status Start(const Options& options);
  // Seconds of one round.
  absl::StatusOr<double> Round();
  absl::Status Leave() { return worker_->Leave(); }

 private:
  static float Input(uint32_t rank, size_t i) { return static_cast<float>(rank + 1 + i % 1024); }
  absl::Status Check() const;

  const ModelSpec model_;
  std::vector<float> gradient_;
  std::vector<float> parameters_;
  const std::vector<absl::Span<const float>> gradients_;
  const std::vector<absl::Span<float>> targets_;
  std::unique_ptr<Worker> worker_;  // goes before the memory that it uses
};

absl::Status Bench::Start(const Options& options) {
  absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Join({.coordinator = options.coordinator,
                                                                 .name = absl::StrCat("push-pull-", options.rank),
                                                                 .rank = Rank(options.rank),
                                                                 .run_id = {},
                                                                 .timeout = absl::Minutes(2)});
  if (!worker.ok()) return worker.status();
  worker_ = *std::move(worker);
  for (size_t i = 0; i < gradient_.size(); ++i) gradient_[i] = Input(options.rank, i);
  if (absl::StatusOr<RoundResult> start = worker_->Define(model_, targets_); !start.ok()) return start.status();
  if (absl::StatusOr<double> first = Round(); !first.ok()) return first.status();
  if (absl::Status status = options.any_values ? absl::OkStatus() : Check(); !status.ok()) return status;
  for (int i = 0; i < options.warmup; ++i) {
    if (absl::StatusOr<double> round = Round(); !round.ok()) return round.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<double> Bench::Round() {
  const auto start = std::chrono::steady_clock::now();
  const absl::StatusOr<RoundResult> result = worker_->PushPull(gradients_, 1, targets_);
  if (!result.ok()) return result.status();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// All values are multiples of one half below 2^20, which fp32 adds without rounding; only the division may round.
absl::Status Bench::Check() const {
  const float offset = static_cast<float>(worker_->workers() + 1) / 2;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const float expected = offset + static_cast<float>(i % 1024);
    if (std::abs(parameters_[i] - expected) <= expected * 1e-6f) continue;
    return absl::InternalError(
        absl::StrCat("wrong mean at element ", i, ": expected ", expected, ", got ", parameters_[i]));
  }
  return absl::OkStatus();
}

absl::Status RunRounds(Bench& bench, int count) {
  if (absl::StatusOr<double> meet = bench.Round(); !meet.ok()) return meet.status();
  std::string line = "rounds";
  for (int i = 0; i < count; ++i) {
    const absl::StatusOr<double> seconds = bench.Round();
    if (!seconds.ok()) return seconds.status();
    line += " " + std::to_string(*seconds);
  }
  std::cout << line << std::endl;
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  Bench bench(options.bytes);
  if (absl::Status status = bench.Start(options); !status.ok()) return status;
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    int count = 0;
    if (!absl::SimpleAtoi(line, &count)) return absl::InvalidArgumentError("expected a number of rounds: " + line);
    if (absl::Status status = RunRounds(bench, count); !status.ok()) return status;
  }
  return bench.Leave();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  CLI::App app("One worker whose rounds are timed");
  lockstep::Options options;
  app.add_option("--coordinator", options.coordinator, "HOST:PORT of shard 0")->required();
  app.add_option("--rank", options.rank, "this worker's rank, from 0")->required();
  app.add_option("--bytes", options.bytes, "size of the model")
      ->check(CLI::Range(4ul, 1ul << 40))
      ->capture_default_str();
  app.add_option("--warmup", options.warmup, "rounds before the first timed one")->capture_default_str();
  app.add_flag("--any-values", options.any_values, "the servers' optimizer makes something else than the mean");
  CLI11_PARSE(app, argc, argv);
  absl::Status status = lockstep::StartProcess("warn", "");
  if (status.ok()) status = lockstep::Run(options);
  if (status.ok()) return 0;
  std::cout << "error " << status.ToString() << std::endl;
  return 1;
}
