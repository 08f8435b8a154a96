// Real lockstep-server processes on loopback for tests: they bind port 0 and are gone at the end, whatever happens.
//
//   Cluster cluster({.shards = 2, .workers = 3});
//   auto worker = Worker::Join({.coordinator = cluster.coordinator(), .name = "a"});
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_TESTING_CLUSTER_H_
#define LOCKSTEP_TESTS_TESTING_CLUSTER_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "proto/control.pb.h"

namespace lockstep::testing {

// A child process that dies with its parent and is killed when this object goes.
class Process {
 public:
  // Starts `argv`; stdout and stderr go to `log`. Aborts when it cannot.
  Process(std::vector<std::string> argv, const std::string& log);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int signal);
  // Blocks until it ends; the exit code, or 128 + the signal.
  int Wait();
  // The exit code if it has ended, or -1.
  int Poll();

 private:
  int Reap(int options);
  pid_t pid_ = -1;
  int exit_code_ = -1;
};

struct ClusterOptions {
  uint32_t shards = 1;
  uint32_t workers = 1;
  std::vector<std::string> flags;  // more flags for every server
};

class Cluster {
 public:
  // Starts the servers, last shard first, and waits until they listen.
  explicit Cluster(ClusterOptions options);
  // Kills what still runs, and removes what it kept, unless the test has failed.
  ~Cluster();

  const std::string& coordinator() const { return addresses_[0]; }
  const std::string& address(uint32_t shard) const { return addresses_[shard]; }
  Process& shard(uint32_t index) { return *shards_[index]; }
  // Kills the shard's process (kill -9) and starts another on the same port, which finds its folder again.
  void RestartShard(uint32_t index);
  // Kills all of them before it starts any again.
  void RestartShards(const std::vector<uint32_t>& indices);
  // Asks the shard to stop (SIGTERM), and starts another on the same port; the exit code of the first.
  int StopAndStartShard(uint32_t index);
  // What a shard keeps on disk.
  std::string DataFolder(uint32_t index) const;
  // The coordinator's answer; aborts when there is none within some seconds.
  v1::Status Status() const;
  // Polls Status until `wanted(status)`, for at most some 30 seconds; says whether it came true.
  template <typename Predicate>
  bool Await(Predicate wanted) const {
    for (int attempt = 0; attempt < 600; ++attempt) {
      if (wanted(Status())) return true;
      Sleep();
    }
    return false;
  }
  // The exit codes of all servers, once they have ended.
  std::vector<int> WaitAll();

 private:
  void Start(uint32_t index, const std::string& bind);
  std::string LogOf(uint32_t index) const;
  static void Sleep();

  const ClusterOptions options_;
  const std::string folder_;
  std::vector<std::unique_ptr<Process>> shards_;
  std::vector<std::string> addresses_;
};

// The path of a program of this build, by its path from the root ("server/lockstep-server"): in Bazel's runfiles.
std::string Program(const std::string& path);

// A new folder for this test's files, under $TEST_TMPDIR or /tmp.
std::string NewFolder(const std::string& name);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_CLUSTER_H_
