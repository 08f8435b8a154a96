#include "server/storage/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/safetensors/fingerprint.h"

namespace lockstep::storage {
namespace {

using ::testing::HasSubstr;

Manifest Example() {
  return {.identity = {.run_id = "3f2a",
                       .version = Version(120),
                       .completed_in = Generation(7),
                       .participants = {Rank(0), Rank(2)},
                       .shards = 1,
                       .optimizer = compute::OptimizerKind::kAdam},
          .model = {.tensors = {{.name = "w", .shape = {2, 3}}, {.name = "scalar", .shape = {}}}},
          .files = {{.shard = ShardIndex(0),
                     .name = "shard-0-of-1.safetensors",
                     .bytes = 1000,
                     .head_xxh3_128 = "0123456789abcdef0123456789abcdef"}}};
}

// The manifest with `from` replaced by `to`, and a checksum that fits.
std::string Forged(const std::string& from, const std::string& to) {
  std::string text = *EncodeManifest(Example());
  text.resize(text.size() - 36);
  EXPECT_THAT(text, HasSubstr(from));
  text = absl::StrReplaceAll(text, {{from, to}});
  safetensors::Fingerprinter fingerprinter;
  fingerprinter.Update(text.data(), text.size());
  return absl::StrCat(text, fingerprinter.Hex(), "\"\n}\n");
}

void ExpectRefused(const std::string& from, const std::string& to, const std::string& message,
                   absl::StatusCode code = absl::StatusCode::kDataLoss) {
  const absl::Status status = DecodeManifest("a/manifest.json", Forged(from, to)).status();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("a/manifest.json: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(Manifest, Encoded_DecodesToTheSame) {
  const absl::StatusOr<std::string> text = EncodeManifest(Example());
  ASSERT_TRUE(text.ok()) << text.status();
  const absl::StatusOr<Manifest> decoded = DecodeManifest("manifest.json", *text);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_TRUE(*decoded == Example());
}

TEST(Manifest, AnyBitFlippedOrByteMissing_DataLoss) {
  const std::string text = *EncodeManifest(Example());
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string damaged = text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_TRUE(absl::IsDataLoss(DecodeManifest("m", damaged).status())) << bit;
  }
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeManifest("m", text.substr(0, size)).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeManifest("m", text + " ").status()));
}

TEST(Manifest, WrongFields_NamedWithWhatWasExpected) {
  ExpectRefused("\"version\": 120", "\"version\": -1", "field 'version': expected a number from 0 to ");
  ExpectRefused("\"version\": 120", "\"Version\": 120", "field 'version': is missing");
  ExpectRefused("\"3f2a\"", "17", "field 'run_id': expected a string, but found 17");
  ExpectRefused("\"bytes\": 1000", "\"bytes\": 1e3", "field 'files[0].bytes': expected a number");
  ExpectRefused("\"adam\"", "\"eve\"", "field 'optimizer.name': ");
  ExpectRefused("\"exp_avg\"", "\"sum\"", "field 'optimizer.state': not the state that this optimizer has");
  ExpectRefused("\"dtype\": \"F32\"", "\"dtype\": \"F16\"", "field 'model[0].dtype': expected \"F32\"");
  ExpectRefused("\"scalar\"", "\"w\"", "two tensors of the model are named 'w'");
  ExpectRefused("\"shards\": 1", "\"shards\": 2", "there are 1 files for 2 shards");
  ExpectRefused("shard-0-of-1.safetensors", "../../etc/passwd", "files[0] should be shard-0-of-1.safetensors");
  ExpectRefused("{\n  \"format\"", "[{\n  \"format\"", "expected an object");
}

TEST(Manifest, OtherFormat_FailedPrecondition) {
  ExpectRefused("\"format\": 1", "\"format\": 2", "has format 2, but this program reads 1",
                absl::StatusCode::kFailedPrecondition);
}

TEST(Manifest, Contradictions_NotEncoded) {
  Manifest manifest = Example();
  manifest.identity.participants = {Rank(2), Rank(2)};
  EXPECT_THAT(std::string(EncodeManifest(manifest).status().message()), HasSubstr("participants must ascend"));
  manifest = Example();
  manifest.identity.run_id = "\xff";
  EXPECT_THAT(std::string(EncodeManifest(manifest).status().message()), HasSubstr("not valid UTF-8"));
  manifest = Example();
  manifest.files[0].head_xxh3_128 = "12";
  EXPECT_EQ(EncodeManifest(manifest).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace lockstep::storage
