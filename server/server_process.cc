#include "server/server_process.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/random_id.h"
#include "common/wire/channel.h"
#include "server/fail_points.h"
#include "server/service/coordinator_driver.h"
#include "server/service/coordinator_link.h"
#include "server/service/coordinator_store.h"
#include "server/service/grpc_services.h"
#include "server/service/optimizer_config.h"
#include "server/service/process_health.h"
#include "server/service/recovery.h"
#include "server/service/restore.h"
#include "server/service/shard_driver.h"
#include "spdlog/spdlog.h"

namespace lockstep {
namespace {

constexpr absl::Duration kDrainPatience = absl::Seconds(2);
constexpr absl::Duration kShutdownPatience = absl::Seconds(1);

// Calls Tick every so often, on a thread of its own, for as long as it lives.
class Clock {
 public:
  Clock(service::CoordinatorDriver* driver, absl::Duration every)
      : thread_([this, driver, every] {
          while (!stop_.WaitForNotificationWithTimeout(every)) driver->Tick();
        }) {}
  ~Clock() {
    stop_.Notify();
    thread_.join();
  }

 private:
  absl::Notification stop_;
  std::thread thread_;
};

// Often enough for leases and for the deadlines of rounds.
absl::Duration TickEvery(const ServerFlags& flags) {
  const absl::Duration every = std::min(flags.lease / 20, absl::Milliseconds(100));
  return std::clamp(flags.policy.deadline / 20, absl::Milliseconds(1), every);
}

// What is left of the grace period for all that comes after the round in progress.
constexpr absl::Duration kClosing = absl::Seconds(2);

// Waits for SIGTERM and SIGINT on a thread of its own, for as long as it lives, and then stops the shard: the round in
// progress may end, no other one begins, and link.Run() returns. A second signal does not wait for the round. Whatever
// happens, the process ends within the grace period. Block the signals before other threads start.
class StopOnSignal {
 public:
  // Until then, a signal ends the process at once: nothing has been promised yet. (By default the first process of a
  // container ignores it.)
  static void EndAtOnce() {
    for (int signal : {SIGTERM, SIGINT}) std::signal(signal, [](int) { _exit(static_cast<int>(ExitCode::kDone)); });
  }
  static void Block() {
    const sigset_t signals = Signals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  }
  StopOnSignal(service::ShardDriver* shard, service::CoordinatorLink* link, service::ProcessHealth* health,
               absl::Duration grace)
      : shard_(shard), link_(link), health_(health), grace_(grace), thread_([this] { Watch(); }) {}
  ~StopOnSignal() {
    done_ = true;
    thread_.join();
  }

 private:
  static sigset_t Signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    return signals;
  }
  // A signal has come within the next moment.
  static bool Signalled(int milliseconds) {
    const sigset_t signals = Signals();
    const timespec patience = {.tv_sec = 0, .tv_nsec = milliseconds * 1'000'000L};
    return sigtimedwait(&signals, nullptr, &patience) > 0;
  }
  void Watch() {
    while (!done_ && !Signalled(50)) {
    }
    if (done_) return;
    const absl::Time asked = MonotonicNow();
    spdlog::info("asked to stop: ends the round in progress, begins no other one; is gone within {}",
                 absl::FormatDuration(grace_));
    health_->SetStopping();
    shard_->Stop();
    const absl::Time patience = asked + std::max(grace_ - kClosing, grace_ / 2);
    while (!done_ && !shard_->Quiet() && MonotonicNow() < patience && !Signalled(5)) {
    }
    spdlog::info("stops {}", shard_->Quiet() ? "between two rounds" : "within a round, which is going to be undone");
    link_->Stop();
    while (!done_ && MonotonicNow() < asked + grace_) absl::SleepFor(absl::Milliseconds(50));
    if (done_) return;
    spdlog::error("could not stop within {} (does the disk stand still?): ends now", absl::FormatDuration(grace_));
    _exit(static_cast<int>(ExitCode::kRetry));
  }

  service::ShardDriver* const shard_;
  service::CoordinatorLink* const link_;
  service::ProcessHealth* const health_;
  const absl::Duration grace_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

std::string AdvertisedAddress(const ServerPlace& place, int port) {
  if (!place.advertise.empty()) return WithPort(place.advertise, static_cast<uint16_t>(port));
  std::string host = place.bind.substr(0, place.bind.rfind(':'));
  if (host == "0.0.0.0" || host == "[::]") host = place.advertise_host;
  return absl::StrCat(host, ":", port);
}

absl::Status WritePortFile(const std::string& path, const std::string& address) {
  if (path.empty()) return absl::OkStatus();
  const std::string temporary = path + ".tmp";
  std::ofstream(temporary) << address << "\n";
  if (std::rename(temporary.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cannot write --port-file ", path));
}

bool Durable(const ServerFlags& flags) { return flags.durability != core::Durability::kNone; }

service::ShardFolders FoldersOf(const ServerFlags& flags) {
  return {.data = flags.data_dir, .checkpoint_folder = flags.checkpoint_dir};
}

std::string NameOf(core::Durability durability) {
  switch (durability) {
    case core::Durability::kJournal:
      return "journal";
    case core::Durability::kCheckpoint:
      return "checkpoint";
    case core::Durability::kNone:
      return "memory";
  }
  return "";
}

service::RunSettings Settings(const ServerFlags& flags) {
  return {.optimizer = flags.optimizer,
          .block_elements = flags.block_elements,
          .connections = flags.connections,
          .checksums = flags.checksums,
          .credit_bytes = flags.credit_bytes,
          .stay_when_done = flags.after_run == service::AfterRun::kServe,
          .checkpoint_rounds = flags.checkpoint_rounds,
          .checkpoint_interval = flags.checkpoint_interval,
          .files = Durable(flags) ? &storage::SystemFiles() : nullptr,
          .checkpoint_folder = FoldersOf(flags).checkpoints(),
          .keep_checkpoints = flags.keep_checkpoints,
          .fail_point = *MakeFailPoint(flags.fail_point),  // was checked with the flags
          .durability = NameOf(flags.durability)};
}

// What a new run begins with, if not with what rank 0 brings.
absl::Status Begin(const ServerFlags& flags, core::CoordinatorOptions& options, service::RunSettings& settings) {
  absl::StatusOr<service::Beginning> beginning =
      service::FindBeginning(storage::SystemFiles(), flags.restore, FoldersOf(flags).checkpoints());
  if (!beginning.ok()) {
    return absl::Status(
        absl::IsDataLoss(beginning.status()) ? absl::StatusCode::kDataLoss : absl::StatusCode::kInvalidArgument,
        absl::StrCat("--restore ", flags.restore, ": ", beginning.status().message()));
  }
  const compute::OptimizerKind optimizer = service::FromProto(flags.optimizer)->optimizer.kind;  // was checked
  if (beginning->optimizer && *beginning->optimizer != optimizer) {
    return absl::InvalidArgumentError(absl::StrCat("--restore ", flags.restore, ": this is of a run with --optimizer ",
                                                   compute::OptimizerKindName(*beginning->optimizer),
                                                   ", but now it is ", compute::OptimizerKindName(optimizer)));
  }
  for (const std::string& damage : beginning->damaged) {
    spdlog::error("--restore: a newer checkpoint is damaged and not used: {}", damage);
    absl::StrAppend(&settings.warning, settings.warning.empty() ? "" : "; ",
                    "a newer checkpoint was damaged and not used: ", damage);
  }
  const v1::RestoreSource& source = beginning->source;
  spdlog::info("the run begins with {}, version {}", source.path(), source.version());
  settings.restore = source;
  options.model = beginning->model;
  return absl::OkStatus();
}

// The coordinator of a new run, or of the one that this shard's folder holds.
absl::StatusOr<std::unique_ptr<service::CoordinatorDriver>> MakeCoordinator(const ServerFlags& flags) {
  core::CoordinatorOptions options{.run_id = absl::StrCat(absl::Hex(RandomId(), absl::kZeroPad16)),
                                   .workers = flags.place.workers,
                                   .shards = flags.place.shards,
                                   .lease = flags.lease,
                                   .nan_policy = flags.nan_policy,
                                   .linger = flags.linger,
                                   .policy = flags.policy,
                                   .min_workers = flags.min_workers,
                                   .max_workers = flags.max_workers,
                                   .replace_timeout = flags.replace_timeout,
                                   .checkpoints = Durable(flags)};
  service::RunSettings settings = Settings(flags);
  std::unique_ptr<service::CoordinatorStore> store;
  std::optional<service::SavedRun> saved;
  if (Durable(flags)) {
    store = std::make_unique<service::CoordinatorStore>(&storage::SystemFiles(), flags.data_dir,
                                                        *MakeFailPoint(flags.fail_point));
    absl::StatusOr<std::optional<service::SavedRun>> loaded = store->Load();
    if (!loaded.ok()) return loaded.status();
    saved = *std::move(loaded);
  }
  if (saved) {
    if (absl::Status status = core::CoordinatorCore::CheckMemory(options, saved->memory); !status.ok()) return status;
    // Whoever killed the process before may have come between the file's name and its sync.
    if (absl::Status status = store->Save(*saved); !status.ok()) return status;
    options.run_id = saved->memory.run_id;
    settings.restore = saved->restore;
  } else if (!flags.restore.empty()) {
    if (absl::Status status = Begin(flags, options, settings); !status.ok()) return status;
  }
  if (settings.restore) options.begins_with = Version(settings.restore->version());
  spdlog::info("coordinator of run {}{}: {} workers, {} shards, lease {}, policy {}", options.run_id,
               saved ? ", which goes on" : "", flags.place.workers, flags.place.shards,
               absl::FormatDuration(flags.lease), core::ToString(flags.policy));
  return std::make_unique<service::CoordinatorDriver>(std::move(options), std::move(settings), std::move(store),
                                                      std::move(saved));
}

service::ShardOptions OptionsOfShard(const ServerFlags& flags) {
  service::ShardOptions options{
      .shard = ShardIndex(flags.place.shard_index), .self = Incarnation(RandomId()), .checksums = flags.checksums};
  if (!Durable(flags)) return options;
  options.files = &storage::SystemFiles();
  options.durability = flags.durability;
  options.folders = FoldersOf(flags);
  options.journal.sync = flags.sync_rounds;
  options.journal.segment_bytes = flags.journal_segment_bytes;
  options.journal.fail_point = *MakeFailPoint(flags.fail_point);  // was checked with the flags
  return options;
}

// A folder that cannot be used is said now, not when the first round is there.
absl::Status CheckDataFolder(const ServerFlags& flags) {
  if (!Durable(flags)) return absl::OkStatus();
  const absl::Status status = storage::SystemFiles().MakeFolder(flags.data_dir);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat("cannot use --data-dir ", flags.data_dir, ": ", status.message()));
}

// What this shard had in an earlier life; absent if there was none.
absl::StatusOr<std::optional<service::RecoveredShard>> Recover(const service::ShardOptions& options) {
  if (options.files == nullptr || options.durability != core::Durability::kJournal) return std::nullopt;
  return service::RecoverShard(*options.files, options.folders, options.shard, options.journal, options.machine_bytes);
}

// What this shard kept is damaged, but there is a checkpoint that it could go back to with all others.
bool CanRollBack(const service::ShardOptions& options) {
  const absl::StatusOr<storage::CheckpointsFound> found =
      storage::FindCheckpoints(*options.files, options.folders.checkpoints(), {.own = options.shard});
  return found.ok() && !found->whole.empty();
}

// What is on the disk cannot be used.
ServerEnd Unusable(const absl::Status& status) {
  return {absl::IsDataLoss(status) ? ExitCode::kDamaged : ExitCodeFor(status), std::string(status.message())};
}

// Everything that was said is on the disk, whatever happens to the machine.
absl::Status MakeDurable(const ServerFlags& flags, const service::ShardOptions& options) {
  if (!Durable(flags)) return absl::OkStatus();
  absl::Status status = storage::SyncAllIn(storage::SystemFiles(), options.folders.journal());
  status.Update(storage::SystemFiles().SyncFolder(flags.data_dir));
  return status;
}

// How it went, from what link.Run() has returned.
ServerEnd Judge(const absl::Status& status, const absl::Status& durable) {
  if (!absl::IsCancelled(status)) return {ExitCodeFor(status), std::string(status.message())};
  if (durable.ok()) return {ExitCode::kDone, "stopped, as it was asked to"};
  return {ExitCode::kRetry, absl::StrCat("stopped, but the disk does not take everything: ", durable.message())};
}

}  // namespace

ServerEnd RunServer(const ServerFlags& flags) {
  StopOnSignal::EndAtOnce();
  const ShardIndex index(flags.place.shard_index);
  service::ShardOptions options = OptionsOfShard(flags);
  if (absl::Status status = CheckDataFolder(flags); !status.ok()) return Unusable(status);
  absl::StatusOr<std::optional<service::RecoveredShard>> recovered = Recover(options);
  if (absl::IsDataLoss(recovered.status()) && CanRollBack(options)) {
    // Never loaded: as if the disk were gone.
    options.damage = std::string(recovered.status().message());
    spdlog::error("shard {}: what it kept is DAMAGED and not used; the run goes back to a checkpoint: {}",
                  index.value(), options.damage);
    recovered = std::optional<service::RecoveredShard>();
  }
  if (!recovered.ok()) return Unusable(recovered.status());
  StopOnSignal::Block();
  std::unique_ptr<service::CoordinatorDriver> coordinator;
  if (index == ShardIndex(0)) {
    absl::StatusOr<std::unique_ptr<service::CoordinatorDriver>> made = MakeCoordinator(flags);
    if (!made.ok()) return Unusable(made.status());
    coordinator = *std::move(made);
  }
  service::ProcessHealth health;
  service::CoordinatorLink* answers = nullptr;
  service::ShardDriver shard(
      options, [&answers](v1::ShardMessage message) { answers->Send(std::move(message)); }, *std::move(recovered));

  int port = 0;
  grpc::ServerBuilder builder;
  wire::ConfigureServer(builder);
  builder.AddListeningPort(flags.place.bind, grpc::InsecureServerCredentials(), &port);
  const std::shared_ptr<service::KeptChannel> to_coordinator =
      coordinator == nullptr ? std::make_shared<service::KeptChannel>(flags.place.coordinator) : nullptr;
  service::ShardService shard_service(coordinator.get(), &shard, to_coordinator);
  builder.RegisterService(&shard_service);
  std::unique_ptr<service::CoordinatorService> coordinator_service;
  if (coordinator != nullptr) {
    coordinator_service = std::make_unique<service::CoordinatorService>(coordinator.get());
    builder.RegisterService(coordinator_service.get());
  }
  service::ControlService control(coordinator.get(), &shard, to_coordinator, &health);
  builder.RegisterService(&control);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return {ExitCode::kUsage, absl::StrCat("cannot listen on --bind ", flags.place.bind,
                                           ": is the port taken, or the address not of this machine?")};
  }

  const std::string advertised = AdvertisedAddress(flags.place, port);
  const std::string here = absl::StrCat(flags.place.bind.substr(0, flags.place.bind.rfind(':')), ":", port);
  spdlog::info("shard {}: listens on {}, advertised as {}", index.value(), here, advertised);
  service::CoordinatorLink link(&shard, index, coordinator != nullptr ? here : flags.place.coordinator, advertised,
                                absl::Seconds(60), flags.after_run, &health);
  answers = &link;
  absl::Status status = WritePortFile(flags.port_file, advertised);
  if (!status.ok()) {
    server->Shutdown(absl::ToChronoTime(absl::Now()));
    return {ExitCode::kUsage, std::string(status.message())};
  }
  StopOnSignal stop(&shard, &link, &health, flags.grace);
  {
    std::unique_ptr<Clock> clock;
    if (coordinator != nullptr) clock = std::make_unique<Clock>(coordinator.get(), TickEvery(flags));
    status = link.Run();
    if (coordinator != nullptr && !absl::IsCancelled(status)) coordinator->WaitUntilDrained(kDrainPatience);
  }
  if (absl::IsCancelled(status)) {
    if (coordinator != nullptr) coordinator->Stop();
    shard.LetGo();
  }
  server->Shutdown(absl::ToChronoTime(absl::Now() + kShutdownPatience));
  shard.StopWriting();
  const absl::Status durable = MakeDurable(flags, options);
  TsanAcquireFromGrpc();
  return Judge(status, durable);
}

}  // namespace lockstep
