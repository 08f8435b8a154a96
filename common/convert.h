// Between our types and their messages in proto/types.proto.
//
// Thread-safety: functions.
#ifndef LOCKSTEP_COMMON_CONVERT_H_
#define LOCKSTEP_COMMON_CONVERT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "common/ids.h"
#include "common/model.h"
#include "google/protobuf/repeated_field.h"
#include "proto/types.pb.h"

namespace lockstep {

// INVALID_ARGUMENT when the model is not valid (see Validate in common/model.h) or has a dtype that is not supported.
absl::StatusOr<ModelSpec> FromProto(const v1::ModelSpec& proto);
v1::ModelSpec ToProto(const ModelSpec& model);

std::vector<Member> FromProto(const google::protobuf::RepeatedPtrField<v1::Member>& proto);
void ToProto(const std::vector<Member>& members, google::protobuf::RepeatedPtrField<v1::Member>* proto);

std::vector<Rank> RanksFromProto(const google::protobuf::RepeatedField<uint32_t>& proto);
void ToProto(const std::vector<Rank>& ranks, google::protobuf::RepeatedField<uint32_t>* proto);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CONVERT_H_
