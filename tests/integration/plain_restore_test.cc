// A run that begins with a plain .safetensors file, which nothing of Lockstep has written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kWorkers = 2;

// A tensor of a file.
struct Stored {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype;
  std::vector<float> values;
};

// All tensors of `tiny`, the last one first, with values that it would never have by itself.
std::vector<Stored> TensorsOf(const Tiny& tiny) {
  std::vector<Stored> stored;
  float next = 0.125f;
  for (const TensorSpec& spec : tiny.model().tensors) {
    std::vector<float> values(static_cast<size_t>(spec.elements()));
    for (float& value : values) value = next += 0.25f;
    stored.push_back({spec.name, spec.shape, "F32", std::move(values)});
  }
  std::reverse(stored.begin(), stored.end());
  return stored;
}

// https://huggingface.co/docs/safetensors: the header's length as 8 little-endian bytes, the header as JSON, the
// values.
std::string Write(const std::vector<Stored>& tensors) {
  std::string header;
  std::string data;
  for (const Stored& tensor : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float));
    absl::StrAppend(&header, header.empty() ? "{" : ",", "\"", tensor.name, "\":{\"dtype\":\"", tensor.dtype,
                    "\",\"shape\":[", absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[", begin, ",", data.size(),
                    "]}");
  }
  header += "}";
  const uint64_t size = header.size();
  const std::string path = absl::StrCat(NewFolder("plain"), "/model.safetensors");
  std::ofstream(path, std::ios::binary) << std::string(reinterpret_cast<const char*>(&size), sizeof(size)) << header
                                        << data;
  return path;
}

ClusterOptions RestoreFrom(const std::string& path, uint32_t shards) {
  return {.shards = shards, .workers = kWorkers, .flags = {absl::StrCat("--restore=", path), "--optimizer=adam"}};
}

// What each worker ends with, and holds.
struct Trained {
  std::vector<absl::Status> statuses;
  std::vector<Tiny::Values> values;
};

Trained TrainAll(const Cluster& cluster, const Tiny& tiny, uint64_t rounds) {
  Trained trained{std::vector<absl::Status>(kWorkers), std::vector<Tiny::Values>(kWorkers)};
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      const TrainOptions options{.coordinator = cluster.coordinator(), .name = absl::StrCat("w", w), .rounds = rounds};
      trained.statuses[w] = Train(tiny, options, trained.values[w]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return trained;
}

TEST(PlainRestoreTest, ValuesOfTheFile_AreVersion0_OnAnyNumberOfShards) {
  const Tiny tiny;
  const std::vector<Stored> stored = TensorsOf(tiny);
  const std::string path = Write(stored);
  Tiny::Values after_rounds;
  for (uint32_t shards : {1, 2, 3}) {
    SCOPED_TRACE(shards);
    Cluster cluster(RestoreFrom(path, shards));
    const Trained begun = TrainAll(cluster, tiny, 0);
    for (uint32_t w = 0; w < kWorkers; ++w) {
      ASSERT_TRUE(begun.statuses[w].ok()) << begun.statuses[w];
      for (size_t t = 0; t < stored.size(); ++t) {
        EXPECT_EQ(begun.values[w][t], stored[stored.size() - 1 - t].values) << "worker " << w << ", tensor " << t;
      }
    }
    Cluster again(RestoreFrom(path, shards));
    const Trained trained = TrainAll(again, tiny, 5);
    ASSERT_TRUE(trained.statuses[0].ok()) << trained.statuses[0];
    if (after_rounds.empty()) after_rounds = trained.values[0];
    EXPECT_EQ(trained.values[0], after_rounds);
    EXPECT_NE(trained.values[0], begun.values[0]);
  }
}

// The file does not fit the model of the workers, which shards see when these define it: nobody can mend that by
// starting again.
TEST(PlainRestoreTest, FileThatDoesNotFit_RunFailsAndNamesFileAndTensor) {
  struct Fault {
    const char* what;
    std::function<void(std::vector<Stored>&)> harm;
    std::vector<std::string> said;
  };
  const Tiny tiny;
  const std::string first = tiny.model().tensors[0].name;
  const std::vector<Fault> faults = {
      {"a tensor is missing", [](auto& tensors) { tensors.pop_back(); }, {first}},
      {"another shape",
       [](auto& tensors) {
         tensors.back().shape = {10, 100};
       },
       {first, "10"}},
      {"a tensor more",
       [](auto& tensors) {
         tensors.push_back({"surplus", {2}, "F32", {1, 2}});
       },
       {"surplus", "which the model has not"}},
  };
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.what);
    std::vector<Stored> tensors = TensorsOf(tiny);
    fault.harm(tensors);
    const std::string path = Write(tensors);
    ClusterOptions options = RestoreFrom(path, 2);
    options.flags.push_back("--linger=1s");
    Cluster cluster(std::move(options));
    const Trained trained = TrainAll(cluster, tiny, 3);
    for (const absl::Status& status : trained.statuses) {
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(path));
      for (const std::string& part : fault.said) EXPECT_THAT(std::string(status.message()), HasSubstr(part));
    }
    for (int code : cluster.WaitAll()) EXPECT_EQ(code, 64) << "another try would end the same way";
  }
}

// Shard 0 with --restore=`path`, which ends by itself, before any worker has come: its exit code, and what it said.
std::pair<int, std::string> EndOfServer(const std::string& path) {
  const std::string log = absl::StrCat(NewFolder("none"), "/log");
  Process server({Program("server/lockstep-server"), "--bind=127.0.0.1:0",
                  absl::StrCat("--data-dir=", NewFolder("none-data")), absl::StrCat("--restore=", path)},
                 log);
  const int code = server.Wait();
  std::ifstream said(log);
  return {code, std::string((std::istreambuf_iterator<char>(said)), {})};
}

TEST(PlainRestoreTest, FileThatIsNone_ServerEndsWithAConfigurationErrorAndNamesIt) {
  for (const char* path : {"/nowhere/model.safetensors", "/etc/hostname"}) {
    const auto [code, text] = EndOfServer(path);
    EXPECT_EQ(code, 64) << path;
    EXPECT_THAT(text, HasSubstr(path));
  }
}

TEST(PlainRestoreTest, AnotherDtype_ServerEndsWithAConfigurationErrorAndNamesFileAndTensor) {
  std::vector<Stored> tensors = TensorsOf(Tiny());
  tensors.back().dtype = "F64";
  tensors.back().values.resize(2 * tensors.back().values.size());
  const std::string path = Write(tensors);
  const auto [code, text] = EndOfServer(path);
  EXPECT_EQ(code, 64);
  EXPECT_THAT(text, HasSubstr(path));
  EXPECT_THAT(text, HasSubstr(tensors.back().name));
  EXPECT_THAT(text, HasSubstr("F64"));
}

TEST(PlainRestoreTest, DamagedFile_ServerEndsWithDamagedDataAndNamesFileAndTensor) {
  struct Fault {
    const char* what;
    std::function<void(std::vector<Stored>&)> harm;
    std::function<void(const std::string& path)> harm_file;
    std::vector<std::string> said;
  };
  const auto untouched = [](std::vector<Stored>&) {};
  const std::string first = Tiny().model().tensors[0].name;
  const std::vector<Fault> faults = {
      {"fewer bytes than it says", [](auto& tensors) { tensors.back().values.pop_back(); }, nullptr, {first}},
      // The tensor that begins last reaches beyond the end.
      {"truncated",
       untouched,
       [](const std::string& path) { std::filesystem::resize_file(path, std::filesystem::file_size(path) - 10); },
       {first, "bytes"}},
      {"no header", untouched, [](const std::string& path) { std::filesystem::resize_file(path, 20); }, {"header"}},
      {"not even its length", untouched, [](const std::string& path) { std::filesystem::resize_file(path, 5); }, {}},
      {"a damaged header",
       untouched,
       [](const std::string& path) {
         std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
         file.seekp(8).put('[');
       },
       {"header"}},
  };
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.what);
    std::vector<Stored> tensors = TensorsOf(Tiny());
    fault.harm(tensors);
    const std::string path = Write(tensors);
    if (fault.harm_file) fault.harm_file(path);
    const auto [code, text] = EndOfServer(path);
    EXPECT_EQ(code, 65);
    EXPECT_THAT(text, HasSubstr(path));
    for (const std::string& part : fault.said) EXPECT_THAT(text, HasSubstr(part));
  }
}

}  // namespace
}  // namespace lockstep::testing
