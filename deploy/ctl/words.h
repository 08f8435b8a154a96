// How lockstepctl says things: states, durations, sizes and sets of ranks, in words for people.
//
// Thread-safety: pure functions.
#ifndef LOCKSTEP_DEPLOY_CTL_WORDS_H_
#define LOCKSTEP_DEPLOY_CTL_WORDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "proto/control.pb.h"

namespace lockstep::ctl {

// The names of the .proto in lower case: "waiting_for_workers", "training", "silent". For JSON.
std::string StateName(v1::Status::State state);
std::string StateName(v1::WorkerStatus::State state);
std::string StateName(v1::ShardStatus::State state);

// The same for people: "waiting for workers".
std::string StateWords(v1::Status::State state);

// "0.4 ms", "12 ms", "8.2 s", "1 m 12 s", "2 h 3 m", "3 d 4 h".
std::string FormatSeconds(double seconds);

// "512 B", "1.5 KB", "100 MB": powers of 1000.
std::string FormatBytes(uint64_t bytes);

// "109,386".
std::string FormatCount(uint64_t count);

// "1 tensor", "2 tensors": `singular` with an s for any number but one.
std::string FormatCount(uint64_t count, absl::string_view singular);

// Breaks lines at spaces so that they have at most `columns` characters, words that are longer aside; what follows a
// break begins with `indent` spaces. Escape sequences for colours take no room.
std::string Wrap(absl::string_view text, size_t columns, size_t indent);

// "0-3, 5, 7-9". Sorts; repeated numbers count once. Empty for none.
std::string FormatRanges(std::vector<uint32_t> numbers);

// "rank 3" or "ranks 0-3, 5": `singular` with an s for more than one number.
std::string FormatRanges(absl::string_view singular, const std::vector<uint32_t>& numbers);

// "117", or "-" while the run has no version.
std::string FormatVersion(const v1::Status& status);
std::string FormatVersion(const v1::ShardStatus& shard);

// What a rank still owes: "all 12 blocks on shards 0-1, 3 of 12 on shard 2", "the only block on shard 0". Empty if
// nothing.
std::string FormatMissing(const google::protobuf::RepeatedPtrField<v1::MissingOnShard>& missing);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_WORDS_H_
