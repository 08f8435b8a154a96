#include "worker/trainer/training_loop.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/model.h"
#include "spdlog/spdlog.h"
#include "worker/trainer/outcome.h"

namespace lockstep::trainer {
namespace {

// A wait longer than this is told in the log, again and again.
constexpr absl::Duration kWorthTelling = absl::Seconds(15);
constexpr int kProgressLines = 20;

lockstep::ModelSpec SpecOf(const Model& model) {
  lockstep::ModelSpec spec;
  for (const TensorSpec& tensor : model.tensors()) spec.tensors.push_back({.name = tensor.name, .shape = tensor.shape});
  return spec;
}

SamplerOptions SamplerFor(const WorkerFlags& flags, const Dataset& data, const Worker& worker) {
  return {.seed = flags.seed,
          .workers = worker.workers(),
          .batch = flags.batch,
          .samples = static_cast<uint32_t>(data.train.samples)};
}

double SecondsSince(absl::Time start) { return absl::ToDoubleSeconds(MonotonicNow() - start); }

}  // namespace

TrainingLoop::TrainingLoop(const WorkerFlags& flags, const Dataset& data, Model& model, Worker& worker)
    : flags_(flags),
      data_(data),
      model_(model),
      worker_(worker),
      sampler_(SamplerFor(flags, data, worker)),
      parameters_(model),
      gradients_(model) {}

uint64_t TrainingLoop::LastRound() const {
  return flags_.rounds ? *flags_.rounds : *flags_.epochs * RoundsPerEpoch(sampler_);
}

absl::Status TrainingLoop::Run() {
  if (absl::Status status = Start(); !status.ok()) return status;
  if (absl::Status status = OpenOutput(); !status.ok()) return status;
  while (held_.version < LastRound()) {
    if (absl::Status status = TrainRound(); !status.ok()) return status;
  }
  return Finish();
}

absl::Status TrainingLoop::Start() {
  model_.Initialize(flags_.seed, parameters_.write());
  absl::StatusOr<RoundResult> start = WaitOut(worker_.Define(SpecOf(model_), parameters_.write(), kWorthTelling));
  if (!start.ok()) return start.status();
  held_ = *std::move(start);
  spdlog::info("holds version {} of {}, generation {}", held_.version, LastRound(), held_.generation);
  return absl::OkStatus();
}

absl::Status TrainingLoop::OpenOutput() {
  if (!writes()) return absl::OkStatus();
  for (const std::string& path : {flags_.save, flags_.result, flags_.metrics}) {
    if (absl::Status status = CheckFolder(path); !status.ok()) return status;
  }
  if (flags_.metrics.empty()) return absl::OkStatus();
  absl::StatusOr<MetricsFile> metrics = MetricsFile::Open(flags_.metrics, held_.version);
  if (metrics.ok()) metrics_.emplace(*std::move(metrics));
  return metrics.status();
}

absl::Status TrainingLoop::TrainRound() {
  const absl::Time start = MonotonicNow();
  const Contribution contribution = Compute(held_.version + 1);
  Dawdle();
  absl::StatusOr<RoundResult> result = Exchange(contribution);
  if (!result.ok()) return result.status();
  held_ = *std::move(result);
  if (held_.rolled_back) return TakeRollback();
  const double seconds = SecondsSince(start);
  Report(contribution, seconds);
  return Record(contribution, seconds);
}

// Everything in a round follows from the version before it: going on from here is all that it takes.
absl::Status TrainingLoop::TakeRollback() {
  spdlog::warn("ROLLED BACK: the run goes on from version {}, since a shard had lost what it had", held_.version);
  return OpenOutput();  // lines of rounds that come again are dropped
}

TrainingLoop::Contribution TrainingLoop::Compute(uint64_t round) {
  SampleIndices(sampler_, round, worker_.rank().value(), indices_);
  if (indices_.empty()) return {};
  Gather(data_.train, indices_, x_, labels_);
  return {.samples = static_cast<uint32_t>(indices_.size()),
          .batch = model_.LossAndGradient(parameters_.read(), x_, labels_, gradients_.write())};
}

absl::StatusOr<RoundResult> TrainingLoop::Exchange(const Contribution& contribution) {
  const GradientSpans gradients = contribution.samples > 0 ? gradients_.read() : GradientSpans();
  return WaitOut(
      worker_.PushPull(gradients, static_cast<float>(contribution.samples), parameters_.write(), kWorthTelling));
}

// Waits as long as it takes, and says for whom.
absl::StatusOr<RoundResult> TrainingLoop::WaitOut(absl::StatusOr<RoundResult> result) {
  while (absl::IsDeadlineExceeded(result.status())) {
    spdlog::warn("still waiting: {}", std::string(result.status().message()));
    result = worker_.Wait(kWorthTelling);
  }
  return result;
}

void TrainingLoop::Dawdle() {
  if (flags_.delay_max <= absl::ZeroDuration()) return;
  absl::SleepFor(flags_.delay_max * std::uniform_real_distribution<double>(0, 1)(random_));
}

void TrainingLoop::Report(const Contribution& contribution, double seconds) const {
  const uint64_t every = std::max<uint64_t>(1, LastRound() / kProgressLines);
  const auto level = held_.version % every == 0 ? spdlog::level::info : spdlog::level::debug;
  spdlog::log(level, "version {} of {}, loss {:.4f}, {} samples, {:.1f} ms, {} participants", held_.version,
              LastRound(), contribution.batch.loss, contribution.samples, seconds * 1e3, held_.participants.size());
}

absl::Status TrainingLoop::Record(const Contribution& contribution, double seconds) {
  if (!metrics_) return absl::OkStatus();
  RoundMetrics metrics{
      .round = held_.version, .seconds = seconds, .participants = held_.participants, .generation = held_.generation};
  // All workers have the same flags, so that what the others took is known.
  for (uint32_t rank : held_.participants) metrics.samples += SampleCount(sampler_, held_.version, rank);
  if (contribution.samples > 0) {
    metrics.loss = contribution.batch.loss;
    metrics.accuracy = static_cast<double>(contribution.batch.correct) / contribution.samples;
  }
  return metrics_->Append(metrics);
}

absl::Status TrainingLoop::Finish() {
  spdlog::info("rank {} ends with version {}, fingerprint {}", worker_.rank().value(), held_.version,
               Fingerprint(model_, parameters_.read()));
  if (!writes()) return absl::OkStatus();
  Outcome outcome{.run_id = worker_.run_id(),
                  .version = held_.version,
                  .generation = held_.generation,
                  .rounds = LastRound(),
                  .workers = worker_.workers(),
                  .shards = worker_.shards()};
  Evaluate(model_, parameters_.read(), data_, outcome);
  spdlog::info("version {}: train loss {:.4f}, test accuracy {:.4f}", outcome.version, outcome.train_loss,
               outcome.test_accuracy);
  if (!flags_.save.empty()) {
    if (absl::Status status = SaveModel(flags_.save, model_, parameters_.read(), outcome); !status.ok()) return status;
  }
  return flags_.result.empty() ? absl::OkStatus() : SaveOutcome(flags_.result, outcome);
}

}  // namespace lockstep::trainer
