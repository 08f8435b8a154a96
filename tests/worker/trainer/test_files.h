// Files that tests write: data sets in small, whole or damaged on purpose.
#ifndef TESTS_WORKER_TRAINER_TEST_FILES_H_
#define TESTS_WORKER_TRAINER_TEST_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::trainer {

// A new empty directory under the test's temporary directory.
std::string MakeTestDirectory(const std::string& name);

void WriteFile(const std::string& path, const std::string& bytes);

std::string Gzip(const std::string& bytes);

// An IDX file of unsigned bytes; see worker/trainer/idx.h.
std::string IdxBytes(const std::vector<uint32_t>& dimensions, const std::string& values);

// Images of 2x3 pixels and labels 0, 1, 2, 0, ...: valid, and small enough for thousands of trials.
std::string SmallImages(uint32_t count);
std::string SmallLabels(uint32_t count);

// `bytes` with one random change drawn from `seed`: cut off, extended, or up to 4 bits flipped.
std::string Damage(const std::string& bytes, uint64_t seed);

}  // namespace lockstep::trainer

#endif  // TESTS_WORKER_TRAINER_TEST_FILES_H_
