#include "server/service/journal_thread.h"

#include <pthread.h>

#include <string>
#include <utility>

#include "common/clock.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {
namespace {

constexpr absl::Duration kTryAgainAfter = absl::Milliseconds(200);

}  // namespace

JournalThread::JournalThread(storage::FileSystem* files, std::string folder, storage::JournalOptions options,
                             Events* events)
    : files_(files), folder_(std::move(folder)), options_(options), events_(events), thread_([this] { Run(); }) {}

void JournalThread::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void JournalThread::Begin(storage::JournalIdentity identity) { Add(BeginTask{std::move(identity)}); }

void JournalThread::Adopt(std::unique_ptr<storage::Journal> journal) { journal_ = std::move(journal); }

void JournalThread::WriteBlock(Slot slot, storage::BufferRef values) { Add(BlockTask{slot, std::move(values)}); }

void JournalThread::CommitRound(storage::RoundRecord round) { Add(CommitTask{std::move(round), MonotonicNow()}); }

void JournalThread::AppendInstall(storage::InstallRecord install) { Add(InstallTask{install}); }

void JournalThread::Forget(Version version) { Add(ForgetTask{version}); }

JournalThread::State JournalThread::state() const {
  MutexLock lock(&mutex_);
  return state_;
}

void JournalThread::Add(Task task) {
  MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
}

// ---- The thread ----

void JournalThread::Run() {
  pthread_setname_np(pthread_self(), "journal");  // for `top -H` and the like
  Task task;
  while (Wait(task) && DoUntilDone(task)) {
    if (const auto* commit = std::get_if<CommitTask>(&task)) {
      {
        MutexLock lock(&mutex_);
        state_.round = MonotonicNow() - commit->asked;
      }
      events_->OnRoundJournaled(commit->round.generation, commit->round.version);
    } else if (const auto* install = std::get_if<InstallTask>(&task)) {
      events_->OnInstallJournaled(install->install.generation);
    }
  }
}

bool JournalThread::Wait(Task& task) {
  task = Task();  // lets go of a block
  MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !tasks_.empty(); };
  mutex_.Await(absl::Condition(&ready));
  if (stopping_) return false;
  task = std::move(tasks_.front());
  tasks_.pop_front();
  return true;
}

bool JournalThread::DoUntilDone(const Task& task) {
  while (true) {
    NoteStart();
    const absl::Status status = std::visit([this](const auto& t) { return Do(t); }, task);
    NoteEnd(status);
    if (status.ok()) return true;
    MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kTryAgainAfter)) return false;
  }
}

void JournalThread::NoteStart() {
  MutexLock lock(&mutex_);
  state_.busy_since = MonotonicNow();
}

void JournalThread::NoteEnd(const absl::Status& status) {
  MutexLock lock(&mutex_);
  state_.busy_since = absl::InfiniteFuture();
  if (journal_ != nullptr) {
    state_.live_bytes = journal_->live_bytes();
    state_.allocated_bytes = journal_->allocated_bytes();
  }
  if (status.ok() && state_.trouble.ok()) return;
  if (status.ok()) {
    spdlog::warn("journal: the disk takes data again after {}: rounds go on",
                 absl::FormatDuration(absl::Trunc(MonotonicNow() - state_.trouble_since, absl::Milliseconds(100))));
    state_.trouble_since = absl::InfiniteFuture();
  } else if (state_.trouble.ok()) {
    spdlog::error("journal: rounds wait for the disk: {}", std::string(status.message()));
    state_.trouble_since = MonotonicNow();
  }
  state_.trouble = status;
}

// ---- Tasks ----

absl::Status JournalThread::Do(const BeginTask& task) {
  absl::StatusOr<std::unique_ptr<storage::Journal>> journal =
      storage::Journal::Create(*files_, folder_, task.identity, options_);
  if (!journal.ok()) return journal.status();
  journal_ = *std::move(journal);
  return absl::OkStatus();
}

absl::Status JournalThread::WriteHeldBlocks() {
  if (!write_again_) return absl::OkStatus();
  for (const auto& [slot, values] : held_) {
    if (absl::Status status = journal_->WriteBlock(slot, values->values()); !status.ok()) return status;
  }
  write_again_ = false;
  return absl::OkStatus();
}

absl::Status JournalThread::Do(const BlockTask& task) {
  held_[task.slot] = task.values;
  if (write_again_) return WriteHeldBlocks();
  absl::Status status = journal_->WriteBlock(task.slot, task.values->values());
  write_again_ = !status.ok();
  return status;
}

absl::Status JournalThread::Do(const CommitTask& task) {
  if (absl::Status status = WriteHeldBlocks(); !status.ok()) return status;
  absl::Status status = journal_->CommitRound(task.round);
  write_again_ = !status.ok();
  if (status.ok()) held_.clear();
  return status;
}

absl::Status JournalThread::Do(const InstallTask& task) {
  held_.clear();  // the round in progress is collected anew
  write_again_ = false;
  return journal_->AppendInstall(task.install);
}

absl::Status JournalThread::Do(const ForgetTask& task) { return journal_->Forget(task.version); }

}  // namespace lockstep::service
