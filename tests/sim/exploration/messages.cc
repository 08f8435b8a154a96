#include "tests/sim/exploration/messages.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lockstep::exploration {
namespace {

using absl::StrCat;

std::string Name(const Member& member) {
  return StrCat("rank ", member.rank.value(), " (incarnation ", member.incarnation.value(), ")");
}

std::string Names(const std::vector<Member>& members) {
  return absl::StrJoin(members, ", ", [](std::string* out, const Member& member) { *out += Name(member); });
}

struct Describe {
  std::string operator()(const core::SealShard& m) const {
    return StrCat("seal for generation ", m.generation.value(), ", meant for incarnation ", m.to.value());
  }
  std::string operator()(const core::InstallGeneration& m) const {
    return StrCat("install generation ", m.generation.value(), ", next is round ", m.resume.value(), ", members ",
                  Names(m.members), ", meant for incarnation ", m.to.value());
  }
  std::string operator()(const core::AttachWorker& m) const {
    return StrCat(Name(m.who), " attaches in generation ", m.generation.value(), " for round ", m.next.value());
  }
  std::string operator()(const Contribution& m) const {
    return StrCat(Name(m.event.who), " contributes to round ", m.event.round.value(), " in generation ",
                  m.event.generation.value(), ", computed from value #", m.on);
  }
  std::string operator()(const client::GenerationAnnounced& m) const {
    return StrCat("generation ", m.generation.value(), " is announced, next is round ", m.resume.value(), ", members ",
                  Names(m.members));
  }
  std::string operator()(const Parameters& m) const {
    return StrCat("shard ", m.event.shard.value(), " sends version ", m.event.version.value(), " in generation ",
                  m.event.generation.value(), ", value #", m.value);
  }
  std::string operator()(const client::CompleteArrived& m) const {
    const std::string ranks =
        absl::StrJoin(m.participants, "+", [](std::string* out, Rank rank) { absl::StrAppend(out, rank.value()); });
    return StrCat("shard ", m.shard.value(), " says in generation ", m.generation.value(), " that version ",
                  m.version.value(), " is complete since generation ", m.completed_in.value(), ", ranks ", ranks);
  }
  std::string operator()(const core::WorkerJoins& m) const { return StrCat(Join(m.incarnation), " joins"); }
  std::string operator()(const core::WorkerDefines& m) const { return StrCat(Join(m.incarnation), " defines"); }
  std::string operator()(const core::ShardArrives& m) const {
    return StrCat("shard ", m.shard.value(), ", incarnation ", m.incarnation.value(), ", opens a stream");
  }
  std::string operator()(const core::ShardSealed& m) const {
    return StrCat("shard ", m.shard.value(), ", incarnation ", m.incarnation.value(), ", is sealed for generation ",
                  m.generation.value(), ", next is round ", m.has.next.value(), ", last completed in generation ",
                  m.has.completed_in.value(),
                  m.has.committed ? ", committed" : StrCat(", the one before in ", m.has.completed_in_before.value()),
                  m.has.blank ? ", blank" : "");
  }
  std::string operator()(const core::ShardInstalled& m) const {
    return StrCat("shard ", m.shard.value(), ", incarnation ", m.incarnation.value(), ", has installed generation ",
                  m.generation.value(), m.error.empty() ? "" : ": ", m.error);
  }
  static std::string Join(Incarnation incarnation) { return StrCat("worker incarnation ", incarnation.value()); }
};

}  // namespace

Place PlaceOf(const Member& worker) {
  const auto life = static_cast<uint32_t>(worker.incarnation.value() % 10 - 1);
  return PlaceOfWorker(worker.rank, life);
}

std::string NameOf(Place place) {
  if (place < kCoordinator) return StrCat("shard ", place);
  if (place == kCoordinator) return "coordinator";
  const int worker = place - kCoordinator - 1;
  return StrCat("worker ", worker % kWorkers, worker < static_cast<int>(kWorkers) ? "" : "'");
}

// Messages of the same text are the same: it must tell all that differs.
MessageId Messages::Intern(Place to, Content content) {
  std::string text = std::visit(Describe{}, content);
  const auto [at, is_new] = ids_.try_emplace(StrCat(to, ": ", text), static_cast<MessageId>(messages_.size()));
  if (is_new) messages_.push_back({to, std::move(content), std::move(text)});
  return at->second;
}

}  // namespace lockstep::exploration
