#include "server/service/connections.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace lockstep::service {
namespace {

std::string Describe(const Attachment& attachment) {
  return absl::StrCat("rank ", attachment.who.rank.value(), ", incarnation ", attachment.who.incarnation.value(),
                      ", connection ", attachment.connection, ", attempt ", attachment.attempt);
}

}  // namespace

absl::Status Connections::Introduce(ExchangeStream& stream, const Attachment& attachment) {
  if (!stream.attachment) stream.attachment = attachment;
  if (*stream.attachment == attachment) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("this stream has attached as ", Describe(*stream.attachment),
                                                 "; expected the same in every ATTACH on it, but ",
                                                 Describe(attachment), " came: open another stream for that"));
}

bool Connections::IsOvertaken(const ExchangeStream& stream) const {
  const std::shared_ptr<ExchangeStream> at = Find(stream.attachment->who.rank, stream.attachment->connection);
  return at != nullptr && at->attachment->who == stream.attachment->who &&
         at->attachment->attempt > stream.attachment->attempt;
}

void Connections::Place(const std::shared_ptr<ExchangeStream>& stream) {
  streams_[{stream->attachment->who.rank, stream->attachment->connection}] = stream;
}

bool Connections::Remove(const ExchangeStream& stream) {
  if (!stream.attachment) return false;
  const auto at = streams_.find({stream.attachment->who.rank, stream.attachment->connection});
  if (at == streams_.end() || at->second.get() != &stream) return false;
  streams_.erase(at);
  return true;
}

std::shared_ptr<ExchangeStream> Connections::Find(Rank rank, uint32_t connection) const {
  const auto at = streams_.find({rank, connection});
  return at == streams_.end() ? nullptr : at->second;
}

std::vector<std::shared_ptr<ExchangeStream>> Connections::All() const {
  std::vector<std::shared_ptr<ExchangeStream>> all;
  for (const auto& [place, stream] : streams_) all.push_back(stream);
  return all;
}

}  // namespace lockstep::service
