#include "tests/worker/trainer/test_files.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "worker/trainer/permutation.h"

namespace lockstep::trainer {

std::string MakeTestDirectory(const std::string& name) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / name;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::filesystem::remove(path);  // Truncating instead makes ext4 write to disk at each close.
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  ASSERT_TRUE(file.good()) << path;
}

std::string Gzip(const std::string& bytes) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string IdxBytes(const std::vector<uint32_t>& dimensions, const std::string& values) {
  std::string bytes = {0, 0, 8, static_cast<char>(dimensions.size())};
  for (uint32_t size : dimensions) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(size >> shift));
  }
  return bytes + values;
}

std::string SmallImages(uint32_t count) {
  std::string pixels;
  for (uint32_t i = 0; i < count * 6; ++i) pixels.push_back(static_cast<char>(Mix64(i)));
  return IdxBytes({count, 2, 3}, pixels);
}

std::string SmallLabels(uint32_t count) {
  std::string labels;
  for (uint32_t i = 0; i < count; ++i) labels.push_back(static_cast<char>(i % 3));
  return IdxBytes({count}, labels);
}

std::string Damage(const std::string& bytes, uint64_t seed) {
  std::string damaged = bytes;
  const uint64_t kind = Mix64(seed) % 4;
  if (kind == 0) return damaged.substr(0, Mix64(seed + 1) % damaged.size());
  if (kind == 1) return damaged.append(1 + Mix64(seed + 1) % 20, static_cast<char>(Mix64(seed + 2)));
  for (uint64_t i = 0; i <= Mix64(seed + 1) % 4; ++i) {
    const uint64_t bit = Mix64(seed + 10 + i) % (damaged.size() * 8);
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
  }
  return damaged;
}

}  // namespace lockstep::trainer
