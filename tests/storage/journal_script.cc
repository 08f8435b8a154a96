#include "tests/storage/journal_script.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/storage/journal_format.h"

namespace lockstep::testing {

using storage::InstallRecord;
using storage::Journal;
using storage::RoundContents;
using storage::RoundRecord;

namespace {

uint64_t Sum(const std::vector<float>& block) {
  return storage::JournalChecksum({reinterpret_cast<const std::byte*>(block.data()), block.size() * sizeof(float)});
}

std::string TextOf(const RoundRecord& round, const std::vector<uint64_t>& sums) {
  const std::string ranks =
      absl::StrJoin(round.participants, ",", [](std::string* out, Rank rank) { absl::StrAppend(out, rank.value()); });
  return absl::StrCat("round ", round.version.value(), " of generation ", round.generation.value(), ", contents ",
                      static_cast<int>(round.contents), ", by ", ranks, ": ", absl::StrJoin(sums, " "));
}

std::string TextOf(const InstallRecord& install) {
  return absl::StrCat("install ", install.generation.value(), ", resume ", install.resume.value(),
                      install.restored ? ", restored" : "");
}

std::vector<float> BlockOf(size_t slot, uint64_t seed) {
  Random random(seed * 1000 + slot);
  std::vector<float> block(JournalScript::Identity().elements[slot]);
  for (float& element : block) element = RandomFloat(random);
  return block;
}

RoundRecord RoundOf(uint64_t generation, uint64_t version, uint64_t seed) {
  Random random(seed);
  RoundRecord round{Generation(generation), Version(version), RoundContents::kGradient, {}};
  if (version == 0) round.contents = RoundContents::kParameters;
  if (random() % 6 == 0) round.contents = RoundContents::kNothing;
  const uint64_t ranks = random() % 40 == 0 ? 5000 : Uniform(random, 0, 5);
  for (uint64_t i = 0; i < ranks; ++i) round.participants.push_back(Rank(static_cast<uint32_t>(2 * i)));
  return round;
}

}  // namespace

absl::Status JournalTexts::OnIdentity(const storage::JournalIdentity& what) {
  identity = what;
  return absl::OkStatus();
}

absl::Status JournalTexts::OnRound(const RoundRecord& round, const storage::BlockReader& read) {
  std::vector<uint64_t> sums;
  for (size_t i = 0; round.contents != RoundContents::kNothing && i < identity.elements.size(); ++i) {
    std::vector<float> block(identity.elements[i]);
    absl::Status status = read(Slot(static_cast<uint32_t>(i)), absl::MakeSpan(block));
    if (!status.ok()) return status;
    sums.push_back(Sum(block));
  }
  texts.push_back(TextOf(round, sums));
  return absl::OkStatus();
}

absl::Status JournalTexts::OnInstall(const InstallRecord& install) {
  texts.push_back(TextOf(install));
  return absl::OkStatus();
}

JournalScript::JournalScript(storage::FileSystem& files, bool sync, uint64_t seed)
    : files_(files), sync_(sync), random_(seed), nonces_(seed + 1) {}

storage::JournalIdentity JournalScript::Identity() {
  return {"run-7", ShardIndex(0), "a model of three blocks", {1000, 2040, 30}};
}

storage::JournalOptions JournalScript::Options() {
  return {.sync = sync_, .segment_bytes = 1, .nonce = [this] { return nonces_(); }, .fail_point = nullptr};
}

absl::Status JournalScript::Create() {
  absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Create(files_, kFolder, Identity(), Options());
  if (!journal.ok()) return journal.status();
  journal_ = *std::move(journal);
  created_ = true;
  return absl::OkStatus();
}

void JournalScript::Draw() {
  const bool after_failed_round = drawn_ && action_ == Action::kRound && !attempts_.empty();
  if (drawn_ && !after_failed_round) return;
  const uint64_t dice = Uniform(random_, 0, 99);
  if (after_failed_round && dice < 30) contents_seed_ = random_();  // as another set of ranks makes it
  if (after_failed_round && dice < 60) return;
  drawn_ = true;
  contents_seed_ = random_();
  action_ = generation_ == 0 || dice >= 85 || after_failed_round ? Action::kInstall
            : dice >= 70                                         ? Action::kForget
                                                                 : Action::kRound;
}

absl::Status JournalScript::Step() {
  Draw();
  absl::Status status;
  if (action_ == Action::kRound) status = WriteRound();
  if (action_ == Action::kInstall) status = WriteInstall();
  if (action_ == Action::kForget) {
    const uint64_t behind = contents_seed_ % 3;
    if (next_version_ > behind + 1) {
      forgotten_below_ = std::max(forgotten_below_, next_version_ - 1 - behind);
      status = journal_->Forget(Version(next_version_ - 2 - behind));
    }
  }
  if (status.ok()) drawn_ = false;
  return status;
}

absl::Status JournalScript::WriteRound() {
  const RoundRecord round = RoundOf(generation_, next_version_, contents_seed_);
  std::vector<size_t> order(Identity().elements.size());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random_);
  std::vector<uint64_t> sums(order.size());
  // Of an empty round some blocks may have come before it was known to be one.
  const bool empty = round.contents == RoundContents::kNothing;
  if (empty) order.resize(contents_seed_ % 2);
  for (const size_t slot : order) sums[slot] = Sum(BlockOf(slot, contents_seed_));
  attempts_.push_back({round, TextOf(round, empty ? std::vector<uint64_t>() : sums)});
  const ScriptRecord record = attempts_.back();
  for (const size_t slot : order) {
    const std::vector<float> block = BlockOf(slot, contents_seed_);
    absl::Status status =
        journal_->WriteBlock(Slot(static_cast<uint32_t>(slot)), block, slot % 2 == 0 ? &sums[slot] : nullptr);
    if (!status.ok()) return status;
  }
  absl::Status status = journal_->CommitRound(round);
  if (status.ok()) Committed(record);
  return status;
}

absl::Status JournalScript::WriteInstall() {
  InstallRecord install{Generation(generation_ + 1), Round(next_version_), false};
  const uint64_t dice = contents_seed_ % 10;
  if (dice < 4 && next_version_ > forgotten_below_) install.resume = Round(next_version_ - 1);
  if (dice == 9) install = {install.generation, Round(next_version_ / 2), true};
  attempts_.push_back({install, TextOf(install)});
  const ScriptRecord record = attempts_.back();
  // What was written of a round that does not end is void.
  if (dice == 5) journal_->WriteBlock(Slot(0), BlockOf(0, contents_seed_)).IgnoreError();
  absl::Status status = journal_->AppendInstall(install);
  if (status.ok()) Committed(record);
  return status;
}

void JournalScript::Committed(ScriptRecord record) {
  if (const auto* const round = std::get_if<RoundRecord>(&record.what)) {
    next_version_ = round->version.value() + 1;
  } else {
    const InstallRecord& install = std::get<InstallRecord>(record.what);
    generation_ = install.generation.value();
    next_version_ = install.resume.value();
    if (install.restored) forgotten_below_ = std::min(forgotten_below_, next_version_);
  }
  committed_.push_back(std::move(record));
  attempts_.clear();
}

absl::Status JournalScript::Recover() {
  JournalTexts texts;
  absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Recover(files_, kFolder, Options(), texts);
  if (!journal.ok()) return journal.status();
  if (*journal == nullptr) {
    if (created_) return absl::DataLossError("the journal is gone");
    return Create();
  }
  created_ = true;
  if (texts.identity != Identity()) return absl::DataLossError("the journal is of another identity");
  drawn_ = false;
  const bool has_attempt =
      !texts.texts.empty() &&
      std::any_of(attempts_.begin(), attempts_.end(), [&](const auto& one) { return one.text == texts.texts.back(); });
  if (has_attempt) {
    const auto found = std::find_if(attempts_.begin(), attempts_.end(),
                                    [&](const ScriptRecord& one) { return one.text == texts.texts.back(); });
    Committed(ScriptRecord(*found));
  }
  attempts_.clear();
  if (!Matches(texts.texts)) {
    return absl::DataLossError(absl::StrCat(
        "recovered:\n  ", absl::StrJoin(texts.texts, "\n  "), "\ncommitted:\n  ",
        absl::StrJoin(committed_, "\n  ", [](std::string* out, const auto& one) { absl::StrAppend(out, one.text); })));
  }
  journal_ = *std::move(journal);
  return absl::OkStatus();
}

// The first `count` records: is there no round among them that is still needed?
bool JournalScript::MayBeForgotten(size_t count) const {
  for (size_t i = 0; i < count; ++i) {
    const auto* const round = std::get_if<RoundRecord>(&committed_[i].what);
    if (round == nullptr || round->version.value() < forgotten_below_) continue;
    const bool undone =
        std::any_of(committed_.begin() + static_cast<ptrdiff_t>(i), committed_.end(), [&](const auto& later) {
          const auto* const install = std::get_if<InstallRecord>(&later.what);
          return install != nullptr && (install->restored || install->resume <= round->version);
        });
    if (!undone) return false;
  }
  return true;
}

bool JournalScript::Matches(const std::vector<std::string>& texts) const {
  for (size_t forgotten = 0; forgotten <= committed_.size() && MayBeForgotten(forgotten); ++forgotten) {
    std::vector<std::string> expected;
    for (size_t i = 0; i < committed_.size(); ++i) {
      const bool is_install = std::holds_alternative<InstallRecord>(committed_[i].what);
      if (i < forgotten && !is_install) continue;
      if (i < forgotten) expected.clear();  // only the newest forgotten install is told
      expected.push_back(committed_[i].text);
    }
    if (expected == texts) return true;
  }
  return false;
}

}  // namespace lockstep::testing
