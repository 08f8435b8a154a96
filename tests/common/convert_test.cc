#include "common/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

v1::ModelSpec OneTensor(v1::DType dtype) {
  v1::ModelSpec proto;
  v1::TensorSpec* tensor = proto.add_tensors();
  tensor->set_name("embedding");
  tensor->add_shape(3);
  tensor->set_dtype(dtype);
  return proto;
}

TEST(ConvertTest, Model_ThereAndBack_IsTheSame) {
  const ModelSpec model{.tensors = {{.name = "weight", .shape = {10, 784}}, {.name = "scale", .shape = {}}}};
  const auto back = FromProto(ToProto(model));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, model);
}

TEST(ConvertTest, Model_ThroughTheWire_KeepsOrderAndDtype) {
  const v1::ModelSpec proto = ToProto({.tensors = {{.name = "b", .shape = {2}}, {.name = "a", .shape = {1}}}});
  v1::ModelSpec parsed;
  ASSERT_TRUE(parsed.ParseFromString(proto.SerializeAsString()));
  EXPECT_EQ(parsed.tensors(0).name(), "b");
  EXPECT_EQ(parsed.tensors(1).name(), "a");
  EXPECT_EQ(parsed.tensors(0).dtype(), v1::DTYPE_F32);
}

TEST(ConvertTest, Dtype_NotSupported_IsNamedWithItsTensor) {
  for (const auto dtype : {v1::DTYPE_UNSPECIFIED, static_cast<v1::DType>(77)}) {
    const absl::Status status = FromProto(OneTensor(dtype)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("'embedding'"), HasSubstr("float32"), HasSubstr(std::to_string(dtype))));
  }
}

TEST(ConvertTest, Model_NotValid_IsRefused) {
  EXPECT_EQ(FromProto(v1::ModelSpec()).status().code(), absl::StatusCode::kInvalidArgument);
  v1::ModelSpec proto = OneTensor(v1::DTYPE_F32);
  proto.mutable_tensors(0)->set_shape(0, -3);
  EXPECT_THAT(std::string(FromProto(proto).status().message()), HasSubstr("embedding float32[-3]"));
}

TEST(ConvertTest, Members_ThereAndBack_AreTheSame) {
  const std::vector<Member> members = {{Rank(0), Incarnation(UINT64_MAX)}, {Rank(7), Incarnation(1)}};
  google::protobuf::RepeatedPtrField<v1::Member> proto;
  ToProto(members, &proto);
  EXPECT_EQ(FromProto(proto), members);
}

TEST(ConvertTest, Ranks_ThereAndBack_AreTheSame) {
  const std::vector<Rank> ranks = {Rank(3), Rank(1), Rank(UINT32_MAX)};
  google::protobuf::RepeatedField<uint32_t> proto;
  ToProto(ranks, &proto);
  EXPECT_EQ(RanksFromProto(proto), ranks);
  EXPECT_TRUE(RanksFromProto({}).empty());
}

}  // namespace
}  // namespace lockstep
