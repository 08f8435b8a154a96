// JournalScript: rounds, installs and forgetting as a run would bring them, drawn from a seed, beside the plain list of
// what a recovery must bring back.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_STORAGE_JOURNAL_SCRIPT_H_
#define LOCKSTEP_TESTS_STORAGE_JOURNAL_SCRIPT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/storage/journal.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {

// A record as text: all that it says, and a checksum of its blocks.
struct ScriptRecord {
  std::variant<storage::RoundRecord, storage::InstallRecord> what;
  std::string text;
};

// What Recover visits, as texts; reads every block.
class JournalTexts : public storage::JournalVisitor {
 public:
  absl::Status OnIdentity(const storage::JournalIdentity& identity) override;
  absl::Status OnRound(const storage::RoundRecord& round, const storage::BlockReader& read) override;
  absl::Status OnInstall(const storage::InstallRecord& install) override;

  storage::JournalIdentity identity;
  std::vector<std::string> texts;
};

class JournalScript {
 public:
  // Nonces are drawn from the seed, too, unless the options have their own.
  JournalScript(storage::FileSystem& files, bool sync, uint64_t seed);

  static storage::JournalIdentity Identity();
  static constexpr char kFolder[] = "disk/shard-0";

  // Starts the journal; again after an error.
  absl::Status Create();
  // The next action. After an error the same action is the next one, but for a round that failed: it may come with
  // other contents, or an install before it.
  absl::Status Step();
  // As a process that has come back. DATA_LOSS, too, if what comes back is not what must.
  absl::Status Recover();

  bool created() const { return created_; }
  const storage::Journal& journal() const { return *journal_; }
  const std::vector<ScriptRecord>& committed() const { return committed_; }

 private:
  enum class Action { kRound, kInstall, kForget };

  void Draw();
  absl::Status WriteRound();
  absl::Status WriteInstall();
  void Committed(ScriptRecord record);
  bool MayBeForgotten(size_t count) const;
  bool Matches(const std::vector<std::string>& texts) const;
  storage::JournalOptions Options();

  storage::FileSystem& files_;
  const bool sync_;
  Random random_;
  Random nonces_;
  std::unique_ptr<storage::Journal> journal_;
  bool created_ = false;
  std::vector<ScriptRecord> committed_;
  std::vector<ScriptRecord> attempts_;  // to write the next record

  bool drawn_ = false;
  Action action_ = Action::kInstall;
  uint64_t contents_seed_ = 0;
  uint64_t generation_ = 0;
  uint64_t next_version_ = 0;
  uint64_t forgotten_below_ = 0;
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_STORAGE_JOURNAL_SCRIPT_H_
