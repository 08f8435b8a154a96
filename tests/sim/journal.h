// The disk of a simulated shard: rounds and installs, in order.
#ifndef LOCKSTEP_TESTS_SIM_JOURNAL_H_
#define LOCKSTEP_TESTS_SIM_JOURNAL_H_

#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "server/core/shard.h"
#include "tests/sim/disk.h"

namespace lockstep::sim {

// The journal begins anew, from a version that was restored: what is before it does not count any more.
struct JournalBegins {
  Version version;
  core::Completion completion;
};

struct JournalRecord {
  std::variant<core::JournalRound, core::JournalInstall, JournalBegins> what;
  // Of a round, by slot: the parameters (round 0) or the effective gradient. Empty if the round changed nothing.
  std::vector<std::vector<float>> blocks;
};

class Journal : public Disk<JournalRecord> {
 public:
  using Disk::Disk;

  // The shard goes on from this version from now on, whatever older records say.
  void SetBase(JournalBegins base) {
    base_ = std::move(base);
    folded_ = 0;
    fits_ = true;
    safe_memory_ = core::ShardMemory(base_->version, base_->completion);
    if (forgotten_) fits_ = safe_memory_.Add(*forgotten_);
  }
  // What a shard would know that came back after the worst of crashes now: nothing, if the records do not fit the base.
  const core::ShardMemory& Safe() {
    static const core::ShardMemory nothing;
    for (; folded_ < safe(); ++folded_) {
      const auto& what = records()[folded_].what;
      if (const auto* begins = std::get_if<JournalBegins>(&what)) {
        fits_ = true;
        const JournalBegins& from = base_ && base_->version > begins->version ? *base_ : *begins;
        safe_memory_ = core::ShardMemory(from.version, from.completion);
      } else if (const auto* round = std::get_if<core::JournalRound>(&what)) {
        fits_ = fits_ && safe_memory_.Add(*round);
      } else {
        fits_ = fits_ && safe_memory_.Add(std::get<core::JournalInstall>(what));
      }
    }
    return fits_ ? safe_memory_ : nothing;
  }
  // The first record that counts.
  size_t first() const {
    size_t first = 0;
    for (size_t i = 0; i < whole(); ++i) {
      if (std::holds_alternative<JournalBegins>(records()[i].what)) first = i;
    }
    return first;
  }
  // The newest install that was let go of; of a journal that has begun anew since, none.
  std::optional<core::JournalInstall> forgotten() const {
    const bool anew = whole() > 0 && std::holds_alternative<JournalBegins>(records()[first()].what);
    return anew ? std::nullopt : forgotten_;
  }
  // Rounds up to `version` are not needed any more: lets go of the oldest records, by segments. How many.
  size_t Forget(Version version, Random& random) {
    Safe();
    size_t count = 0;
    for (; count + 1 < safe(); ++count) {
      const auto* round = std::get_if<core::JournalRound>(&records()[count].what);
      if (round != nullptr && round->version > version) break;
    }
    if (count > 0) count = random.Between(uint64_t{0}, uint64_t{count});
    for (size_t i = 0; i < count; ++i) {
      if (const auto* install = std::get_if<core::JournalInstall>(&records()[i].what)) forgotten_ = *install;
      if (std::holds_alternative<JournalBegins>(records()[i].what)) forgotten_.reset();
    }
    DropFront(count);
    folded_ -= count;
    return count;
  }
  void Erase() {
    Disk::Erase();
    safe_memory_ = {};
    folded_ = 0;
    fits_ = true;
    base_.reset();
    forgotten_.reset();
  }

 private:
  core::ShardMemory safe_memory_;
  size_t folded_ = 0;
  bool fits_ = true;
  std::optional<JournalBegins> base_;
  std::optional<core::JournalInstall> forgotten_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_JOURNAL_H_
