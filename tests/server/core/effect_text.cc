#include "tests/server/core/effect_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lockstep::core {
namespace {

using absl::StrCat;

const auto kId = [](std::string* out, const auto& id) { absl::StrAppend(out, id.value()); };

template <class Ids>
std::string Join(const Ids& ids) {
  return absl::StrJoin(ids, ", ", kId);
}

std::string Join(const std::vector<Weighted>& contributors) {
  return absl::StrJoin(contributors, ", ", [](std::string* out, const Weighted& who) {
    absl::StrAppend(out, who.rank.value(), " (weight ", who.weight, ")");
  });
}

std::string Join(const std::vector<Member>& members) {
  return absl::StrJoin(members, ", ", [](std::string* out, const Member& member) {
    absl::StrAppend(out, member.rank.value(), " (incarnation ", member.incarnation.value(), ")");
  });
}

std::string Join(const Destinations& to) {
  return absl::StrJoin(to, ", ", [](std::string* out, const Destination& destination) {
    absl::StrAppend(out, destination.rank.value(), "/", destination.connection);
  });
}

struct ShardText {
  std::string operator()(const KeepPayload& e) const {
    return StrCat("keep the payload of rank ", e.rank.value(), " for block ", e.slot.value());
  }
  std::string operator()(const RejectConnection& e) const { return StrCat("reject: ", e.status.ToString()); }
  std::string operator()(const SumGroup& e) const {
    return StrCat("sum group ", e.group, " of block ", e.slot.value(), ": ranks ", Join(e.contributors));
  }
  std::string operator()(const ReduceBlock& e) const {
    return StrCat("reduce block ", e.slot.value(), " of round ", e.round.value(), e.grouped ? " by groups" : "",
                  " from ranks ", Join(e.contributors));
  }
  std::string operator()(const JournalRound& e) const {
    return StrCat("journal round ", e.version.value(), e.nothing ? ", which changed nothing" : "", ", generation ",
                  e.generation.value(), ", participants ", Join(e.participants));
  }
  std::string operator()(const JournalInstall& e) const {
    return StrCat("journal that generation ", e.generation.value(), " resumes at round ", e.resume.value());
  }
  std::string operator()(const SendBlock& e) const {
    return StrCat("send block ", e.slot.value(), " of version ", e.version.value(), ", generation ",
                  e.generation.value(), ", to ", Join(e.to));
  }
  std::string operator()(const SendComplete& e) const {
    return StrCat("say that version ", e.version.value(), " is complete since generation ", e.completed_in.value(),
                  ", participants ", Join(e.participants), ", generation ", e.generation.value(), ", to ", Join(e.to));
  }
  std::string operator()(const CommitVersion& e) const { return StrCat("commit version ", e.version.value()); }
  std::string operator()(const UndoBlocks& e) const { return StrCat("undo blocks ", Join(e.slots)); }
  std::string operator()(const DropContributions&) const { return "drop contributions"; }
  std::string operator()(const DropRanks& e) const {
    return StrCat("drop what ranks ", Join(e.ranks), " have brought");
  }
  std::string operator()(const ReportWhole& e) const {
    return StrCat("report that rank ", e.rank.value(), " is whole in round ", e.round.value(), ", generation ",
                  e.generation.value());
  }
  std::string operator()(const ReportWaiting& e) const {
    return StrCat("report that rank ", e.rank.value(), " waits for more than version ", e.given.value(),
                  ", generation ", e.generation.value());
  }
  std::string operator()(const AnswerSealed& e) const {
    const Generation before = e.has.completed_in_before;
    return StrCat("sealed for generation ", e.generation.value(), ", next is round ", e.has.next.value(),
                  ", newest version is of generation ", e.has.completed_in.value(),
                  before > Generation(0) ? StrCat(", the one before of ", before.value()) : "",
                  e.has.committed ? ", committed" : "", e.has.blank ? ", blank" : "");
  }
  std::string operator()(const AnswerInstalled& e) const {
    return StrCat("installed generation ", e.generation.value(), e.status.ok() ? "" : ": ", e.status.message());
  }
};

struct CoordinatorText {
  std::string operator()(const Persist&) const { return "persist"; }
  std::string operator()(const WelcomeWorker& e) const {
    return StrCat("welcome incarnation ", e.incarnation.value(), " as rank ", e.rank.value());
  }
  std::string operator()(const RefuseWorker& e) const {
    return StrCat("refuse incarnation ", e.incarnation.value(), ": ", e.status.ToString());
  }
  std::string operator()(const AcknowledgeLeave& e) const {
    return StrCat("acknowledge that incarnation ", e.incarnation.value(), " leaves");
  }
  std::string operator()(const AnnounceGeneration& e) const {
    return StrCat("announce generation ", e.generation.value(), ", next is round ", e.resume.value(), ", ranks ",
                  Join(e.members), ", to incarnations ", Join(e.to));
  }
  std::string operator()(const WelcomeShard& e) const { return StrCat("welcome shard ", e.shard.value()); }
  std::string operator()(const RefuseShard& e) const {
    return StrCat("refuse shard ", e.shard.value(), ", incarnation ", e.incarnation.value(), ": ", e.status.ToString());
  }
  std::string operator()(const SendSeal& e) const {
    return StrCat("seal shard ", e.shard.value(), " for generation ", e.generation.value());
  }
  std::string operator()(const SendInstall& e) const {
    return StrCat("install generation ", e.generation.value(), " on shard ", e.shard.value(), ", next is round ",
                  e.resume.value(), ", ranks ", Join(e.members),
                  e.excluded.empty() ? "" : StrCat(", without ", Join(e.excluded)),
                  e.restoring == Restoring::kNothing ? "" : ", restoring that");
  }
  std::string operator()(const SendFindRestorable& e) const {
    return StrCat("ask shard ", e.shard.value(), " what it can restore, in generation ", e.generation.value());
  }
  std::string operator()(const DecideRound& e) const {
    return StrCat("close round ", e.round.value(), " of generation ", e.generation.value(), " on shard ",
                  e.shard.value(), " with ranks ", Join(e.participants));
  }
  std::string operator()(const GiveVersion& e) const {
    return StrCat("give rank ", e.rank.value(), " version ", e.version.value(), " of generation ", e.generation.value(),
                  " on shard ", e.shard.value());
  }
  std::string operator()(const EndRun& e) const {
    if (e.failure.empty()) return "end the run: done";
    const std::string code = e.code == absl::StatusCode::kAborted ? "" : absl::StatusCodeToString(e.code) + ": ";
    return StrCat("end the run", e.shards_stay ? ", shards stay" : "", ": ", code, e.failure);
  }
  std::string operator()(const Note& e) const { return StrCat("note: ", e.text); }
};

template <class Effects>
std::vector<std::string> Lines(const Effects& effects) {
  std::vector<std::string> lines;
  for (const auto& effect : effects) lines.push_back(ToText(effect));
  return lines;
}

}  // namespace

std::string ToText(const ShardEffect& effect) { return std::visit(ShardText(), effect); }
std::string ToText(const CoordinatorEffect& effect) { return std::visit(CoordinatorText(), effect); }
std::vector<std::string> ToText(const ShardEffects& effects) { return Lines(effects); }
std::vector<std::string> ToText(const CoordinatorEffects& effects) { return Lines(effects); }

}  // namespace lockstep::core
