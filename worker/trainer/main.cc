// lockstep-worker: one worker of a run, training a small model on real data. See `lockstep-worker --help`.
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>

#include "common/exit_codes.h"
#include "common/logging.h"
#include "common/wire/channel.h"
#include "spdlog/spdlog.h"
#include "worker/client/worker.h"
#include "worker/trainer/blas.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/flags.h"
#include "worker/trainer/make_model.h"
#include "worker/trainer/training_loop.h"

namespace lockstep::trainer {
namespace {

int End(ExitCode code, const absl::Status& status) {
  if (!status.ok()) spdlog::error("ends with code {}: {}", static_cast<int>(code), std::string(status.message()));
  return static_cast<int>(code);
}

// The run goes on without this process until a replacement comes, so there is nothing to finish.
void EndAtOnceOnSigterm() {
  std::signal(SIGTERM, [](int) { _exit(static_cast<int>(ExitCode::kRetry)); });
}

absl::Status TrainAndLeave(const WorkerFlags& flags, const Dataset& data, Model& model) {
  std::optional<Rank> rank;
  if (flags.place.rank) rank = Rank(*flags.place.rank);
  absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Join({.coordinator = flags.place.endpoint,
                                                                 .name = flags.place.name,
                                                                 .rank = rank,
                                                                 .run_id = flags.run_id,
                                                                 .timeout = flags.join_timeout});
  if (absl::IsAlreadyExists(worker.status())) {
    spdlog::info("nothing to do: {}", std::string(worker.status().message()));
    return absl::OkStatus();
  }
  if (!worker.ok()) return worker.status();
  spdlog::info("{} has rank {} of {} in run {}", flags.place.name, (*worker)->rank().value(), (*worker)->workers(),
               (*worker)->run_id());
  if (flags.place.workers && *flags.place.workers != (*worker)->workers()) {
    spdlog::warn("the surroundings say that there are {} workers, but the run has {}: do they all belong to it?",
                 *flags.place.workers, (*worker)->workers());
  }
  TrainingLoop loop(flags, data, model, **worker);
  absl::Status status = loop.Run();
  if (status.ok()) status = (*worker)->Leave();
  // The library lets go of the loop's memory before it goes away.
  worker->reset();
  return status;
}

int Run(const WorkerFlags& flags) {
  UseDeterministicBlas();
  const absl::StatusOr<Dataset> data = LoadDataset(flags.dataset);
  if (!data.ok()) return End(ExitCodeForInput(data.status()), data.status());
  const absl::StatusOr<std::unique_ptr<Model>> model = MakeModel(
      flags.model,
      {.features = data->train.features, .classes = static_cast<size_t>(data->classes), .hidden = flags.hidden});
  if (!model.ok()) return End(ExitCode::kUsage, model.status());
  spdlog::info("{}: {} training samples; BLAS kernels: {}", data->name, data->train.samples, BlasCoreName());
  const absl::Status status = TrainAndLeave(flags, *data, **model);
  return End(ExitCodeFor(status), status);
}

}  // namespace
}  // namespace lockstep::trainer

int main(int argc, char** argv) {
  lockstep::wire::AskForNamesAgainSoon();
  lockstep::trainer::WorkerFlags flags;
  int exit_code = 0;
  if (!lockstep::trainer::ParseWorkerFlags(argc, argv, lockstep::Surroundings::OfThisProcess(), flags, exit_code)) {
    return exit_code;
  }
  if (absl::Status status = lockstep::StartProcess(flags.log_level, flags.log_file); !status.ok()) {
    return lockstep::trainer::End(lockstep::ExitCode::kUsage, status);
  }
  for (const std::string& line : flags.place.found) spdlog::info("place: {}", line);
  lockstep::trainer::EndAtOnceOnSigterm();
  return lockstep::trainer::Run(flags);
}
