#include "tests/testing/cluster.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "proto/control.grpc.pb.h"

namespace lockstep::testing {
namespace {

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::abort();
}

// How a server's log ends: the folder of a sandbox is gone when somebody wants to look.
std::string EndOf(const std::string& log) {
  constexpr size_t kMostBytes = 8000;
  std::ifstream file(log);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return absl::StrCat("---- the end of ", log, ":\n", text.substr(text.size() - std::min(text.size(), kMostBytes)));
}

std::string AwaitLine(const std::string& path, Process& writer, const std::string& log) {
  for (int attempt = 0; attempt < 1500; ++attempt) {
    std::string line;
    if (std::ifstream(path) >> line) return line;
    if (const int code = writer.Poll(); code >= 0) Die(absl::StrCat("the server ended with ", code, "\n", EndOf(log)));
    absl::SleepFor(absl::Milliseconds(20));
  }
  Die(absl::StrCat("no server wrote ", path, " in 30 s\n", EndOf(log)));
}

}  // namespace

std::string Program(const std::string& path) {
  const char* runfiles = std::getenv("TEST_SRCDIR");
  return runfiles == nullptr ? path : absl::StrCat(runfiles, "/lockstep/", path);
}

std::string NewFolder(const std::string& name) {
  const char* base = std::getenv("TEST_TMPDIR");
  std::string folder = absl::StrCat(base == nullptr ? "/tmp" : base, "/", name, "-XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) Die(absl::StrCat("cannot make a folder ", folder));
  return folder;
}

Process::Process(std::vector<std::string> argv, const std::string& log) {
  std::vector<char*> arguments;
  for (std::string& argument : argv) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) Die("fork failed");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  close(output);
}

Process::~Process() {
  if (exit_code_ >= 0) return;
  Signal(SIGKILL);
  Wait();
}

void Process::Signal(int signal) { kill(pid_, signal); }

int Process::Reap(int options) {
  int status = 0;
  if (exit_code_ < 0 && waitpid(pid_, &status, options) == pid_) {
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return exit_code_;
}

int Process::Wait() { return Reap(0); }
int Process::Poll() { return Reap(WNOHANG); }

Cluster::Cluster(ClusterOptions options)
    : options_(std::move(options)),
      folder_(NewFolder("cluster")),
      shards_(options_.shards),
      addresses_(options_.shards) {
  for (uint32_t s = 0; s < options_.shards; ++s) Start(s, "127.0.0.1:0");
}

void Cluster::Start(uint32_t index, const std::string& bind) {
  const std::string port_file = absl::StrCat(folder_, "/port-", index);
  const std::string log = LogOf(index);
  std::remove(port_file.c_str());
  std::vector<std::string> argv = {Program("server/lockstep-server"),
                                   absl::StrCat("--shard-index=", index),
                                   absl::StrCat("--shards=", options_.shards),
                                   absl::StrCat("--workers=", options_.workers),
                                   absl::StrCat("--bind=", bind),
                                   absl::StrCat("--port-file=", port_file),
                                   absl::StrCat("--data-dir=", DataFolder(index))};
  if (index > 0) argv.push_back(absl::StrCat("--coordinator=", addresses_[0]));
  argv.insert(argv.end(), options_.flags.begin(), options_.flags.end());
  shards_[index] = std::make_unique<Process>(std::move(argv), log);
  // One that comes back has the address it had, which others may be reading.
  if (std::string address = AwaitLine(port_file, *shards_[index], log); address != addresses_[index]) {
    addresses_[index] = std::move(address);
  }
}

std::string Cluster::LogOf(uint32_t index) const { return absl::StrCat(folder_, "/shard-", index, ".log"); }

std::string Cluster::DataFolder(uint32_t index) const { return absl::StrCat(folder_, "/data-", index); }

void Cluster::RestartShard(uint32_t index) { RestartShards({index}); }

void Cluster::RestartShards(const std::vector<uint32_t>& indices) {
  for (uint32_t index : indices) shards_[index]->Signal(SIGKILL);
  for (uint32_t index : indices) {
    shards_[index]->Wait();
    Start(index, addresses_[index]);
  }
}

int Cluster::StopAndStartShard(uint32_t index) {
  shards_[index]->Signal(SIGTERM);
  const int code = shards_[index]->Wait();
  Start(index, addresses_[index]);
  return code;
}

v1::Status Cluster::Status() const {
  const auto control = v1::Control::NewStub(grpc::CreateChannel(addresses_[0], grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::StatusRequest request;
  request.set_rounds(256);
  v1::Status status;
  const grpc::Status answer = control->GetStatus(&context, request, &status);
  if (!answer.ok()) Die(absl::StrCat("no status from ", addresses_[0], ": ", answer.error_message()));
  return status;
}

Cluster::~Cluster() {
  shards_.clear();  // kills them
  if (::testing::Test::HasFailure()) {
    for (uint32_t s = 0; s < options_.shards; ++s) std::fprintf(stderr, "%s\n", EndOf(LogOf(s)).c_str());
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void Cluster::Sleep() { absl::SleepFor(absl::Milliseconds(50)); }

std::vector<int> Cluster::WaitAll() {
  std::vector<int> codes;
  for (auto& shard : shards_) codes.push_back(shard->Wait());
  return codes;
}

}  // namespace lockstep::testing
