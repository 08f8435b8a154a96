// Connections: which stream is (rank, connection) now. There is at most one; a newer one takes the older one's place.
//
// Thread-safety: none; ShardDriver holds its lock around every call.
#ifndef LOCKSTEP_SERVER_SERVICE_CONNECTIONS_H_
#define LOCKSTEP_SERVER_SERVICE_CONNECTIONS_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "server/service/exchange_stream.h"

namespace lockstep::service {

class Connections {
 public:
  // Notes what the stream's ATTACH says. INVALID_ARGUMENT when it has said something else before: a stream is one
  // connection of one incarnation for as long as it lives, or its older place would stay taken until it ends.
  static absl::Status Introduce(ExchangeStream& stream, const Attachment& attachment);

  // The same life of the worker has attached over a newer stream already: this one has broken, and its end is still to
  // come.
  bool IsOvertaken(const ExchangeStream& stream) const;
  // The stream takes its place, from another one if need be.
  void Place(const std::shared_ptr<ExchangeStream>& stream);
  // False: it had no place, or not any more.
  bool Remove(const ExchangeStream& stream);
  // Null: nobody is attached there.
  std::shared_ptr<ExchangeStream> Find(Rank rank, uint32_t connection) const;
  std::vector<std::shared_ptr<ExchangeStream>> All() const;
  size_t size() const { return streams_.size(); }

 private:
  absl::flat_hash_map<std::pair<Rank, uint32_t>, std::shared_ptr<ExchangeStream>> streams_;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_CONNECTIONS_H_
