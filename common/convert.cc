#include "common/convert.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep {

absl::StatusOr<ModelSpec> FromProto(const v1::ModelSpec& proto) {
  ModelSpec model;
  for (const v1::TensorSpec& tensor : proto.tensors()) {
    if (tensor.dtype() != v1::DTYPE_F32) {
      return absl::InvalidArgumentError(absl::StrCat("tensor '", tensor.name(), "' has dtype ",
                                                     v1::DType_Name(tensor.dtype()), " (number ", tensor.dtype(), ")",
                                                     "; this version of Lockstep takes float32 only"));
    }
    model.tensors.push_back({.name = tensor.name(), .shape = {tensor.shape().begin(), tensor.shape().end()}});
  }
  if (absl::Status status = Validate(model); !status.ok()) return status;
  return model;
}

v1::ModelSpec ToProto(const ModelSpec& model) {
  v1::ModelSpec proto;
  for (const TensorSpec& tensor : model.tensors) {
    v1::TensorSpec* to = proto.add_tensors();
    to->set_name(tensor.name);
    to->set_dtype(v1::DTYPE_F32);
    for (int64_t dimension : tensor.shape) to->add_shape(dimension);
  }
  return proto;
}

std::vector<Member> FromProto(const google::protobuf::RepeatedPtrField<v1::Member>& proto) {
  std::vector<Member> members;
  for (const v1::Member& member : proto) members.push_back({Rank(member.rank()), Incarnation(member.incarnation())});
  return members;
}

void ToProto(const std::vector<Member>& members, google::protobuf::RepeatedPtrField<v1::Member>* proto) {
  for (const Member& member : members) {
    v1::Member* to = proto->Add();
    to->set_rank(member.rank.value());
    to->set_incarnation(member.incarnation.value());
  }
}

std::vector<Rank> RanksFromProto(const google::protobuf::RepeatedField<uint32_t>& proto) {
  std::vector<Rank> ranks;
  for (uint32_t rank : proto) ranks.push_back(Rank(rank));
  return ranks;
}

void ToProto(const std::vector<Rank>& ranks, google::protobuf::RepeatedField<uint32_t>* proto) {
  for (Rank rank : ranks) proto->Add(rank.value());
}

}  // namespace lockstep
