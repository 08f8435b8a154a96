// `lockstepctl -o json`: a Status as JSON that scripts can rely on.
//
//  1. Keys are never removed or renamed; new ones may come.
//  2. Durations are seconds and sizes are bytes, as numbers.
//  3. `version` is null until there is one. States are the lower-case names of the .proto.
//  4. Incarnations are hexadecimal strings: JSON's numbers do not hold 64 bits.
//  5. An entry of `waiting_for` has either `rank` or `shard`.
//
// Thread-safety: pure functions.
#ifndef LOCKSTEP_DEPLOY_CTL_STATUS_JSON_H_
#define LOCKSTEP_DEPLOY_CTL_STATUS_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

#include "proto/control.pb.h"

namespace lockstep::ctl {

// Keys come in the order in which they are inserted: the important ones first.
using Json = nlohmann::ordered_json;

Json StatusJson(const v1::Status& status);

// The arrays of `lockstepctl workers`, `shards` and `rounds`; also parts of StatusJson.
Json WorkersJson(const v1::Status& status);
Json ShardsJson(const v1::Status& status);
Json RoundsJson(const v1::Status& status);

// Text of any JSON above, without a newline at its end; bytes that are not UTF-8 are replaced.
// `indent` spaces a level; -1: all in one line.
std::string Dump(const Json& json, int indent);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_STATUS_JSON_H_
