// The disk of a simulated shard: rounds and installs, in order.
#ifndef LOCKSTEP_TESTS_SIM_JOURNAL_H_
#define LOCKSTEP_TESTS_SIM_JOURNAL_H_

#include <variant>
#include <vector>

#include "server/core/shard.h"
#include "tests/sim/disk.h"

namespace lockstep::sim {

struct JournalRecord {
  std::variant<core::JournalRound, core::JournalInstall> what;
  // Of a round, by slot: the parameters (round 0) or the effective gradient. Empty if the round changed nothing.
  std::vector<std::vector<float>> blocks;
};

class Journal : public Disk<JournalRecord> {
 public:
  using Disk::Disk;

  // What a shard would know that came back after the worst of crashes now.
  const core::ShardMemory& Safe() {
    for (; folded_ < safe(); ++folded_) {
      std::visit([this](const auto& record) { safe_memory_.Add(record); }, records()[folded_].what);
    }
    return safe_memory_;
  }
  void Erase() {
    Disk::Erase();
    safe_memory_ = {};
    folded_ = 0;
  }

 private:
  core::ShardMemory safe_memory_;
  size_t folded_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_JOURNAL_H_
