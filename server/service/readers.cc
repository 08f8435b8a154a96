#include "server/service/readers.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire/frame.h"
#include "server/service/shard_frames.h"

namespace lockstep::service {
namespace {

// All blocks of `version`, which is the newest complete one or, while that may be undone, the one before; and COMPLETE.
std::vector<grpc::ByteBuffer> FramesOf(const core::ShardCore& core, const ShardModel& model, Version version) {
  std::vector<grpc::ByteBuffer> frames;
  const bool newest = version.next() == core.next_round();
  for (uint32_t s = 0; s < model.store.blocks(); ++s) {
    const Slot slot(s);
    // A block that this round has closed already has version `newest` behind it.
    const bool current = newest && !core.IsClosed(slot);
    const storage::BufferRef& block = current ? model.store.current(slot) : model.store.previous(slot);
    if (block == nullptr) return {};
    frames.push_back(BlockMessage(VersionHeader(core.generation(), version), model.block(slot), block));
  }
  frames.push_back(wire::Encode(
      newest ? CompleteHeader(core.generation(), version, core.completed_in(), core.participants())
             : CompleteHeader(core.generation(), version, core.completed_in_before(), core.participants_before())));
  return frames;
}

}  // namespace

void Readers::ForgetEnded() {
  std::erase_if(waiting_, [](const Waiting& reader) { return reader.stream->ended(); });
  std::erase_if(served_, [](const Served& reader) {
    const std::shared_ptr<PullStream> stream = reader.stream.lock();
    return stream == nullptr || stream->ended();
  });
}

bool Readers::MayServe(Version version) const {
  std::set<Version> others;
  for (const Served& reader : served_) {
    if (reader.version != version) others.insert(reader.version);
  }
  return others.size() < kMostVersions;
}

void Readers::Serve(const core::ShardCore& core, const ShardModel& model, Version version,
                    std::shared_ptr<PullStream> stream, WorkList& work) {
  if (!MayServe(version)) {
    work.push_back(RefuseReader{std::move(stream),
                                absl::ResourceExhaustedError(absl::StrCat("readers still hold on to ", kMostVersions,
                                                                          " other versions; try again later")),
                                {}});
    return;
  }
  served_.push_back({version, stream});
  work.push_back(ServeReader{std::move(stream), FramesOf(core, model, version)});
}

void Readers::Admit(const core::ShardCore& core, const ShardModel* model, Version version,
                    std::shared_ptr<PullStream> stream, WorkList& work) {
  ForgetEnded();
  const size_t readers = waiting_.size() + served_.size();
  if (readers >= kMost) {
    work.push_back(RefuseReader{
        std::move(stream),
        absl::ResourceExhaustedError(absl::StrCat("this shard already has ", readers, " readers; try again later")),
        {}});
    return;
  }
  const Round next = core.next_round();
  if (version >= next) {
    waiting_.push_back({version, std::move(stream)});
    return;
  }
  const bool newest = version.next() == next;
  const bool before = version.next().next() == next && core.tentative();
  if (!newest && !before) {
    work.push_back(RefuseReader{std::move(stream),
                                absl::OutOfRangeError(absl::StrCat("version ", version.value(),
                                                                   " is gone; the newest here is ", next.value() - 1)),
                                next.value() - 1});
    return;
  }
  Serve(core, *model, version, std::move(stream), work);
}

void Readers::Completed(const core::ShardCore& core, const ShardModel& model, WorkList& work) {
  if (waiting_.empty()) return;
  ForgetEnded();
  const Version newest = core.next_round().previous();
  for (Waiting& reader : waiting_) {
    if (reader.version != newest) continue;
    Serve(core, model, newest, std::move(reader.stream), work);
  }
  std::erase_if(waiting_, [](const Waiting& reader) { return reader.stream == nullptr; });
}

}  // namespace lockstep::service
