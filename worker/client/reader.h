// Reader: one consistent version of the model, for processes that only read (evaluation, export, fingerprints).
//
// It names a version a little ahead of training; every shard hands that version's blocks over when it completes it and
// lets them go. Training is never held up. A shard whose address cannot be reached from here within a second is asked
// through the one that the reader was opened with, so that one forwarded port is enough.
//
// Thread-safety: one call at a time.
#ifndef LOCKSTEP_WORKER_CLIENT_READER_H_
#define LOCKSTEP_WORKER_CLIENT_READER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace lockstep {

// A tensor's values, row-major.
struct NamedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// A committed version, the same on all shards; tensors in the model's order.
struct Snapshot {
  uint64_t version = 0;
  std::vector<NamedTensor> tensors;
};

class Reader {
 public:
  // `endpoint` is the address of any shard. Blocks for at most `timeout` until it answers. UNAVAILABLE when it does
  // not, FAILED_PRECONDITION when the run has no model yet, INVALID_ARGUMENT when its model makes no sense.
  static absl::StatusOr<std::unique_ptr<Reader>> Open(const std::string& endpoint, absl::Duration timeout);
  ~Reader();

  // Reads `version`, or the newest. Blocks until every shard has completed it, for at most `timeout`. What may pass (a
  // shard that is away: UNAVAILABLE; too many readers: RESOURCE_EXHAUSTED; a damaged payload: DATA_LOSS) is tried again
  // until then. Error codes:
  //
  // - DEADLINE_EXCEEDED: not in time; says which shard it waited for, or what came in between last.
  // - OUT_OF_RANGE: that version is gone; says which is the newest.
  // - FAILED_PRECONDITION, PERMISSION_DENIED: the endpoint is of another run now. Open the reader again.
  // - INTERNAL: a shard breaks the protocol; says how.
  absl::StatusOr<Snapshot> Pull(std::optional<uint64_t> version, absl::Duration timeout);

 private:
  class Impl;
  explicit Reader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_WORKER_CLIENT_READER_H_
