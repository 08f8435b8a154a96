// One rank of gloo's ring all-reduce over TCP: the peer that a round of Lockstep is measured against.
//
//   gloo_ring --rank R --size N --bytes B --rounds K --warmup W --store DIR --address IP
//
// Start N of them, ranks 0..N-1, with the same --store: a folder that all can reach and that no
// earlier run has used (ranks find each other through files in it). Once all have connected, one
// sum is checked element by element, and the warm-up rounds run. Then, without --barrier-stdin, K
// rounds are timed and printed as one line
//
//   rounds t1 t2 ... tK         seconds of each round, as this rank saw it
//
// With --barrier-stdin the process prints `ready` instead, and for every line with a number k on
// standard input runs k rounds and prints such a line; it exits at the end of input. So a driver
// can take turns between this and another benchmark. All ranks must be given the same numbers; the
// time of a round is the largest of the ranks'.
//
// A round sums a buffer of B bytes of fp32 in place, as data-parallel training does. Filling the
// buffer and meeting at a barrier come before each round and are not timed. When anything is wrong,
// a wrong sum included, it prints `error ...` on standard output and exits with 1.
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace lockstep {
namespace {

struct Options {
  int rank = 0;
  int size = 1;
  uint64_t bytes = 100'000'000;
  int rounds = 10;
  int warmup = 2;
  std::string store;
  std::string interface;
  std::string address;
  bool barrier_stdin = false;
};

// gloo has a function for this, whose loop compilers do not vectorize.
void Sum(void* out, const void* left, const void* right, size_t count) {
  float* c = static_cast<float*>(out);
  const float* a = static_cast<const float*>(left);
  const float* b = static_cast<const float*>(right);
  for (size_t i = 0; i < count; ++i) c[i] = a[i] + b[i];
}

std::shared_ptr<gloo::Context> Connect(const Options& options) {
  std::filesystem::create_directories(options.store);
  gloo::transport::tcp::attr attributes;
  attributes.hostname = options.address;
  attributes.iface = options.interface;
  auto device = gloo::transport::tcp::CreateDevice(attributes);
  gloo::rendezvous::FileStore store(options.store);
  auto context = std::make_shared<gloo::rendezvous::Context>(options.rank, options.size);
  context->setTimeout(std::chrono::minutes(2));
  context->connectFullMesh(store, device);
  return context;
}

class Ring {
 public:
  Ring(const Options& options)
      : rank_(options.rank),
        size_(options.size),
        buffer_(options.bytes / sizeof(float)),
        context_(Connect(options)),
        options_(context_) {
    options_.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
    options_.setOutput(buffer_.data(), buffer_.size());
    options_.setReduceFunction(Sum);
  }

  // Runs one round; returns its seconds.
  double Round() {
    for (size_t i = 0; i < buffer_.size(); ++i) buffer_[i] = Input(rank_, i);
    gloo::BarrierOptions barrier(context_);
    gloo::barrier(barrier);
    const auto start = std::chrono::steady_clock::now();
    gloo::allreduce(options_);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  // Throws unless every element is the sum over ranks of what `Round` put in. All values are small
  // integers, which fp32 adds without rounding in any order.
  void Check() const {
    for (size_t i = 0; i < buffer_.size(); ++i) {
      const float expected = size_ * (size_ + 1) / 2 + size_ * static_cast<float>(i % 1024);
      if (buffer_[i] == expected) continue;
      throw std::runtime_error("wrong sum at element " + std::to_string(i) + ": expected " + std::to_string(expected) +
                               ", got " + std::to_string(buffer_[i]));
    }
  }

 private:
  static float Input(int rank, size_t i) { return static_cast<float>(rank + 1 + i % 1024); }

  int rank_;
  int size_;
  std::vector<float> buffer_;
  std::shared_ptr<gloo::Context> context_;
  gloo::AllreduceOptions options_;
};

void RunRounds(Ring& ring, int count) {
  std::string line = "rounds";
  for (int i = 0; i < count; ++i) line += " " + std::to_string(ring.Round());
  std::cout << line << std::endl;
}

void Serve(Ring& ring) {
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) RunRounds(ring, std::stoi(line));
}

void Run(const Options& options) {
  Ring ring(options);
  ring.Round();
  ring.Check();
  for (int i = 0; i < options.warmup; ++i) ring.Round();
  if (options.barrier_stdin) return Serve(ring);
  RunRounds(ring, options.rounds);
}

void AddFlags(CLI::App& app, Options& options) {
  app.add_option("--rank", options.rank, "this process's place, from 0")->required();
  app.add_option("--size", options.size, "number of processes")->required();
  app.add_option("--bytes", options.bytes, "size of the buffer")->capture_default_str();
  app.add_option("--rounds", options.rounds, "timed rounds")->capture_default_str();
  app.add_option("--warmup", options.warmup, "rounds before them")->capture_default_str();
  app.add_option("--store", options.store, "shared folder, new for each run")->required();
  auto* address = app.add_option("--address", options.address, "IP address to listen on");
  app.add_option("--interface", options.interface, "network interface to listen on")->excludes(address);
  app.add_flag("--barrier-stdin", options.barrier_stdin, "run rounds as told on standard input");
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  CLI::App app("One rank of gloo's ring all-reduce");
  lockstep::Options options;
  lockstep::AddFlags(app, options);
  CLI11_PARSE(app, argc, argv);
  if (options.address.empty() && options.interface.empty()) options.address = "127.0.0.1";
  try {
    lockstep::Run(options);
  } catch (const std::exception& error) {
    std::cout << "error " << error.what() << std::endl;
    return 1;
  }
}
