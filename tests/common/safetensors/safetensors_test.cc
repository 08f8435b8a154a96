#include "common/safetensors/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lockstep::safetensors {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string PathOf(const std::string& name) { return ::testing::TempDir() + "/" + name; }

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

void Store(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::string Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A file with the given header, whatever it says, and `data` zero bytes behind it.
std::string Crafted(const std::string& header, size_t data) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + std::string(data, '\0');
}

absl::Status OpenBytes(const std::string& bytes) {
  const std::string path = PathOf("crafted.safetensors");
  Store(path, bytes);
  return File::Open(path).status();
}

std::string Tensor(const std::string& name, int begin, int end) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"F32\",\"shape\":[", (end - begin) / 4, "],\"data_offsets\":[", begin,
                      ",", end, "]}");
}

const std::vector<float> kWeights = {1, 2, 3, 4, 5, 6};
const std::vector<float> kBias = {-1, 0.5F};
const std::vector<float> kScalar = {42};

// Given out of order on purpose.
std::vector<TensorView> Model() {
  return {{"layer.weight", {2, 3}, kWeights},
          {"empty", {3, 0}, {}},
          {"layer.bias", {2}, kBias},
          {"scale \"é\"", {}, kScalar}};
}

std::string WrittenModel(const std::string& name) {
  const std::string path = PathOf(name);
  const absl::Status written = WriteFile(path, Model(), {{"version", "12"}});
  EXPECT_TRUE(written.ok()) << written;
  return path;
}

TEST(Safetensors_WrittenFile, IsReadBack) {
  const absl::StatusOr<File> file = File::Open(WrittenModel("round_trip.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 4);
  EXPECT_EQ(file->metadata(), (Metadata{{"version", "12"}}));
  EXPECT_THAT(file->Find("layer.weight")->shape, ElementsAre(2, 3));
  EXPECT_EQ(file->Find("layer.weight")->dtype, "F32");
  EXPECT_EQ(file->Find("absent"), nullptr);
  std::vector<float> weights(6);
  ASSERT_TRUE(file->Read("layer.weight", absl::MakeSpan(weights)).ok());
  EXPECT_EQ(weights, kWeights);
  std::vector<float> scale(1);
  ASSERT_TRUE(file->Read("scale \"é\"", absl::MakeSpan(scale)).ok());
  EXPECT_EQ(scale, kScalar);
}

TEST(Safetensors_WrittenFile, HasPaddedHeaderAndSortedContiguousData) {
  const std::string bytes = Load(WrittenModel("layout.safetensors"));
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  EXPECT_EQ(header % 8, 0);
  ASSERT_EQ(bytes.size(), 8 + header + 9 * sizeof(float));
  std::vector<float> data(9);
  std::memcpy(data.data(), bytes.data() + 8 + header, 9 * sizeof(float));
  EXPECT_THAT(data, ElementsAre(-1, 0.5F, 1, 2, 3, 4, 5, 6, 42));
}

TEST(Safetensors_WrittenFile, OfNoTensorsIsReadBack) {
  const std::string path = PathOf("none.safetensors");
  ASSERT_TRUE(WriteFile(path, {}).ok());
  const absl::StatusOr<File> file = File::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->tensors().empty());
}

TEST(Safetensors_Writer, AcceptsPiecesAcrossTensors) {
  const std::string path = PathOf("pieces.safetensors");
  absl::StatusOr<Writer> writer = Writer::Create(path, {{"b", {2}}, {"a", {3}}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_EQ(writer->order()[0].name, "a");
  ASSERT_TRUE(writer->Append({1, 2}).ok());
  ASSERT_TRUE(writer->Append({3, 4, 5}).ok());
  ASSERT_TRUE(writer->Finish().ok());
  std::vector<float> last(1);
  const absl::StatusOr<File> file = File::Open(path);
  ASSERT_TRUE(file->ReadPart(*file->Find("b"), 1, absl::MakeSpan(last)).ok());
  EXPECT_EQ(last[0], 5);
}

TEST(Safetensors_Writer, UnfinishedLeavesTheOldFileAndNoTemporary) {
  const std::string path = WrittenModel("kept.safetensors");
  const std::string before = Load(path);
  {
    absl::StatusOr<Writer> writer = Writer::Create(path, {{"a", {3}}});
    ASSERT_TRUE(writer->Append({1}).ok());
    EXPECT_TRUE(Exists(path + ".tmp"));
    EXPECT_EQ(writer->Finish().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_FALSE(Exists(path + ".tmp"));
  EXPECT_EQ(Load(path), before);
}

TEST(Safetensors_Writer, RefusesMoreElementsThanAnnounced) {
  absl::StatusOr<Writer> writer = Writer::Create(PathOf("more.safetensors"), {{"a", {1}}});
  EXPECT_EQ(writer->Append({1, 2}).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(writer->Finish().code(), absl::StatusCode::kOutOfRange);
}

TEST(Safetensors_Writer, RefusesBadTensors) {
  const std::string path = PathOf("bad.safetensors");
  const auto refuses = [&](std::vector<TensorSpec> tensors) {
    return absl::IsInvalidArgument(Writer::Create(path, std::move(tensors)).status());
  };
  EXPECT_TRUE(refuses({{"a", {1}}, {"a", {2}}}));
  EXPECT_TRUE(refuses({{"__metadata__", {1}}}));
  EXPECT_TRUE(refuses({{"\xff", {1}}}));
  EXPECT_TRUE(refuses({{"a", {-1}}}));
  EXPECT_TRUE(refuses({{"a", {int64_t{1} << 40, int64_t{1} << 40}}}));
  EXPECT_TRUE(refuses({{"a", {int64_t{1} << 60}}, {"b", {int64_t{1} << 60}}}));
  EXPECT_TRUE(absl::IsInvalidArgument(WriteFile(path, {{"a", {3}, kBias}})));
  EXPECT_FALSE(Exists(path));
}

TEST(Safetensors_Writer, MissingFolder_IsNamed) {
  const absl::Status status = WriteFile("/no/such/folder/x", {});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/folder/x"));
}

TEST(Safetensors_Reader, WrongRequests_AreRefused) {
  const absl::StatusOr<File> file = File::Open(WrittenModel("requests.safetensors"));
  std::vector<float> two(2);
  EXPECT_TRUE(absl::IsNotFound(file->Read("absent", absl::MakeSpan(two))));
  EXPECT_TRUE(absl::IsInvalidArgument(file->Read("layer.weight", absl::MakeSpan(two))));
  const TensorInfo& bias = *file->Find("layer.bias");
  EXPECT_TRUE(absl::IsOutOfRange(file->ReadPart(bias, 1, absl::MakeSpan(two))));
  EXPECT_TRUE(absl::IsOutOfRange(file->ReadPart(bias, ~uint64_t{0}, absl::MakeSpan(two))));
}

TEST(Safetensors_Reader, AbsentFileOrFolder_IsRefused) {
  EXPECT_TRUE(absl::IsNotFound(File::Open(PathOf("absent")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(File::Open(::testing::TempDir()).status()));
}

struct BadHeader {
  std::string header;
  size_t data;
  std::string message;
};

TEST(Safetensors_Reader, BadHeader_IsExplained) {
  const std::vector<BadHeader> cases = {
      {"", 0, "does not start with"},
      {"[]", 0, "does not start with"},
      {"{", 0, "not valid JSON"},
      {"{}{}", 0, "not valid JSON"},
      {"{}", 4, "announces 0 bytes"},
      {"{\"a\":1}", 0, "a number where"},
      {"{\"a\":{}}", 0, "needs all of"},
      {"{\"a\":{\"dtype\":\"F31\"}}", 0, "unknown dtype 'F31'"},
      {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "field twice"},
      {"{\"a\":{\"color\":1}}", 0, "unknown field 'color'"},
      {"{\"a\":{\"shape\":[-1]}}", 0, "a negative number where"},
      {"{\"a\":{\"shape\":[1.5]}}", 0, "a fraction where"},
      {"{\"a\":{\"shape\":[[1]]}}", 0, "a list where"},
      {"{\"a\":{\"shape\":[99999999999999999999999]}}", 0, "a fraction where"},
      {"{\"a\":{\"shape\":[18446744073709551615]}}", 0, "larger than any file"},
      {"{\"a\":{\"data_offsets\":[1]}}", 0, "fewer than two"},
      {"{\"a\":{\"data_offsets\":[1,2,3]}}", 0, "more than two"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "end before"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "need 8 bytes"},
      {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
       "larger than any file"},
      {"{" + Tensor("a", 0, 8) + "," + Tensor("b", 4, 12) + "}", 12, "tensors overlap"},
      {"{" + Tensor("a", 0, 4) + "," + Tensor("b", 8, 12) + "}", 12, "there is a gap"},
      {"{" + Tensor("a", 4, 8) + "}", 8, "there is a gap"},
      {"{" + Tensor("a", 0, 4) + "," + Tensor("a", 4, 8) + "}", 8, "is there twice"},
      {"{" + Tensor("a", 0, 8) + "}", 12, "the file has 12"},
      {"{" + Tensor("a", 0, 8) + "}", 4, "the file has 4"},
      {"{\"__metadata__\":{\"a\":1}}", 0, "a number where"},
      {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "twice"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
  };
  for (const BadHeader& bad : cases) {
    const absl::Status status = OpenBytes(Crafted(bad.header, bad.data));
    EXPECT_TRUE(absl::IsDataLoss(status)) << bad.header << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.message)) << bad.header;
    EXPECT_THAT(std::string(status.message()), HasSubstr("crafted.safetensors: byte "));
  }
}

TEST(Safetensors_Reader, LyingHeaderLength_IsRefusedWithoutAllocatingIt) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 40, ~uint64_t{0}}) {
    std::string bytes = Crafted("{}", 0);
    std::memcpy(bytes.data(), &length, sizeof(length));
    EXPECT_TRUE(absl::IsDataLoss(OpenBytes(bytes))) << length;
  }
}

TEST(Safetensors_Reader, DeepNesting_IsRefusedAtOnce) {
  const std::string deep = "{\"a\":" + std::string(1'000'000, '[');
  EXPECT_TRUE(absl::IsDataLoss(OpenBytes(Crafted(deep, 0))));
}

TEST(Safetensors_Reader, LongGarbage_GivesAShortMessage) {
  const std::string garbage = "{\"" + std::string(100'000, 'x');
  EXPECT_LT(OpenBytes(Crafted(garbage, 0)).message().size(), 500);
}

TEST(Safetensors_Reader, OtherDTypes_AreListedButNotReadAsFloat) {
  const std::string path = PathOf("other.safetensors");
  Store(path, Crafted("{\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}  ", 4));
  const absl::StatusOr<File> file = File::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<float> two(2);
  EXPECT_TRUE(absl::IsInvalidArgument(file->Read("a", absl::MakeSpan(two))));
}

TEST(Safetensors_Reader, EveryTruncation_IsRefused) {
  const std::string whole = Load(WrittenModel("whole.safetensors"));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(OpenBytes(whole.substr(0, size)))) << "cut at " << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(OpenBytes(whole + "x")));
}

// Reads all that an opened file claims to hold.
void ReadEverything(const File& file, size_t file_bytes) {
  for (const TensorInfo& tensor : file.tensors()) {
    ASSERT_LE(tensor.offset + tensor.bytes, file_bytes);
    if (tensor.dtype != "F32") continue;
    std::vector<float> out(tensor.bytes / sizeof(float));
    EXPECT_TRUE(file.Read(tensor.name, absl::MakeSpan(out)).ok());
  }
  EXPECT_TRUE(file.DataFingerprint().ok());
}

TEST(Safetensors_Reader, RandomFlips_NeverCrash) {
  const char* given = std::getenv("SAFETENSORS_TEST_SEED");
  const uint32_t seed = given != nullptr ? std::strtoul(given, nullptr, 10) : std::random_device()();
  SCOPED_TRACE(absl::StrCat("repeat with SAFETENSORS_TEST_SEED=", seed));
  std::mt19937 random(seed);
  const std::string whole = Load(WrittenModel("flip_source.safetensors"));
  const std::string path = PathOf("flipped.safetensors");
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = whole;
    const int flips = 1 + random() % 4;
    for (int flip = 0; flip < flips; ++flip) bytes[random() % bytes.size()] = random();
    Store(path, bytes);
    const absl::StatusOr<File> file = File::Open(path);
    if (file.ok()) {
      ReadEverything(*file, bytes.size());
    } else {
      ASSERT_TRUE(absl::IsDataLoss(file.status())) << file.status();
    }
  }
}

TEST(Safetensors_Fingerprint, OfFileEqualsThatOfTensors) {
  const absl::StatusOr<std::string> of_file = Fingerprint(WrittenModel("print.safetensors"));
  ASSERT_TRUE(of_file.ok()) << of_file.status();
  EXPECT_EQ(*of_file, FingerprintOf(Model()));
  EXPECT_EQ(of_file->size(), 32);
}

TEST(Safetensors_Fingerprint, OfNothing_IsTheKnownHashOfEmptyInput) {
  EXPECT_EQ(FingerprintOf({}), "99aa06d3014798d86001c324468d497f");
}

TEST(Safetensors_Fingerprint, OfAFileOverManyBuffers_EqualsThatOfTensors) {
  std::vector<float> large(3'000'001);
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<float>(i);
  const std::vector<TensorView> model = {{"large", {3'000'001}, large}};
  const std::string path = PathOf("large.safetensors");
  ASSERT_TRUE(WriteFile(path, model).ok());
  EXPECT_EQ(*Fingerprint(path), FingerprintOf(model));
}

TEST(Safetensors_Fingerprint, ChangesWithOneBit) {
  std::vector<float> other = kBias;
  other[1] = -other[1];
  EXPECT_NE(FingerprintOf({{"a", {2}, kBias}}), FingerprintOf({{"a", {2}, other}}));
}

}  // namespace
}  // namespace lockstep::safetensors
