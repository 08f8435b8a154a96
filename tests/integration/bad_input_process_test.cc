// Processes that are started wrongly: a server with bad flags, and a worker that is sent to an endpoint where there is
// no coordinator. See bad_input.h.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/bad_input.h"
#include "worker/client/worker.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;

// ---- Flags ----

struct BadFlags {
  std::vector<std::string> flags;
  std::vector<std::string> words;
};

// Starts a server with `flags`; its exit code, and what it printed.
std::pair<int, std::string> RunServerWith(const std::vector<std::string>& flags) {
  const std::string folder = NewFolder("flags");
  std::vector<std::string> argv = {Program("server/lockstep-server")};
  const auto places = [](const std::string& flag) { return absl::StartsWith(flag, "--d"); };
  if (std::none_of(flags.begin(), flags.end(), places)) argv.push_back(absl::StrCat("--data-dir=", folder, "/data"));
  argv.insert(argv.end(), flags.begin(), flags.end());
  const std::string log = folder + "/log";
  const int code = Process(std::move(argv), log).Wait();
  std::stringstream text;
  text << std::ifstream(log).rdbuf();
  return {code, text.str()};
}

TEST(FlagsTest, Flags_Wrong_EndWith64AndAMessage) {
  const std::vector<BadFlags> cases = {
      {{"--no-such-flag"}, {"--no-such-flag"}},
      {{"stray"}, {"stray"}},
      {{"--shards=0"}, {"--shards", "1"}},
      {{"--workers=0"}, {"--workers", "1"}},
      {{"--workers=many"}, {"--workers", "many"}},
      {{"--shards=2", "--shard-index=2"}, {"shard index 2 (--shard-index)", "shards 0 to 1"}},
      {{"--shards=2", "--shard-index=1"}, {"--coordinator", "shard 0"}},
      {{"--shard-index=-1"}, {"--shard-index"}},
      {{"--optimizer=sdg"}, {"sdg", "adagrad"}},
      {{"--schedule=linear"}, {"linear", "cosine"}},
      {{"--lr=fast"}, {"--lr", "fast"}},
      {{"--lr=nan"}, {"lr", "nan"}},
      {{"--lr=-1"}, {"lr", "-1"}},
      {{"--optimizer=adam", "--beta2=1"}, {"beta2", "1"}},
      {{"--lease=soon"}, {"--lease", "500ms", "soon"}},
      {{"--lease=1ms"}, {"--lease", "500ms", "1ms"}},
      {{"--lease=inf"}, {"--lease", "1h", "inf"}},
      {{"--durability=journal"}, {"--data-dir DIR", "--durability memory"}},
      {{"--fail-point=nowhere@1"}, {"--fail-point", "nowhere@1"}},
      {{"--durability=disk"}, {"--durability", "disk", "journal"}},
      {{"--data-dir=/proc/nowhere"}, {"/proc/nowhere"}},
      {{"--block-elements=99999999"}, {"--block-elements"}},
      {{"--connections=0"}, {"--connections", "64"}},
      {{"--log-level=loud"}, {"loud"}},
      {{"--bind=nowhere.invalid:0"}, {"--bind nowhere.invalid:0"}},
      {{"--bind=127.0.0.1:0", "--port-file=/no/such/folder/port"}, {"--port-file /no/such/folder/port"}},
  };
  for (const BadFlags& bad : cases) {
    SCOPED_TRACE(bad.flags.back());
    const auto [code, text] = RunServerWith(bad.flags);
    EXPECT_EQ(code, 64) << text;
    for (const std::string& word : bad.words) EXPECT_THAT(text, HasSubstr(word));
  }
}

TEST(FlagsTest, Bind_Taken_EndsWith64AndTheAddress) {
  Cluster cluster({.shards = 1, .workers = 1, .flags = {}});
  const auto [code, text] = RunServerWith({absl::StrCat("--bind=", cluster.coordinator())});
  EXPECT_EQ(code, 64) << text;
  EXPECT_THAT(text, HasSubstr(absl::StrCat("--bind ", cluster.coordinator())));
}

TEST(FlagsTest, Help_Asked_EndsWith0AndTheExitCodes) {
  const auto [code, text] = RunServerWith({"--help"});
  EXPECT_EQ(code, 0);
  EXPECT_THAT(text, HasSubstr("64"));
}

// ---- Endpoints ----

// A socket on a free port of loopback.
class Listener {
 public:
  Listener() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  }
  ~Listener() {
    shutdown(socket_, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    close(socket_);
  }
  const std::string& address() const { return address_; }
  // Answers every connection as a web server that does not understand.
  void ServeHttp() {
    EXPECT_EQ(listen(socket_, 16), 0);
    thread_ = std::thread([this] {
      for (int peer = accept(socket_, nullptr, nullptr); peer >= 0; peer = accept(socket_, nullptr, nullptr)) {
        constexpr char kAnswer[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        send(peer, kAnswer, sizeof(kAnswer) - 1, MSG_NOSIGNAL);
        close(peer);
      }
    });
  }

 private:
  const int socket_;
  std::string address_;
  std::thread thread_;
};

void ExpectNoPlace(const std::string& address) {
  const absl::Time start = absl::Now();
  const auto worker = Worker::Join({.coordinator = address, .name = "w", .timeout = absl::Seconds(1)});
  ExpectError(worker.status(), absl::StatusCode::kUnavailable, {address, "1s", "lockstep-server"});
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

TEST(JoinTest, Port_Closed_IsUnavailableWithTheAddress) {
  const Listener nobody_listens;
  ExpectNoPlace(nobody_listens.address());
}

TEST(JoinTest, Server_OfHttp_IsUnavailableWithTheAddress) {
  Listener web;
  web.ServeHttp();
  ExpectNoPlace(web.address());
}

TEST(JoinTest, Server_OfAnotherService_IsInvalidWithTheAddress) {
  grpc::CallbackGenericService other;  // knows no method at all
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&other);
  const auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  const auto worker = Worker::Join({.coordinator = absl::StrCat("127.0.0.1:", port), .name = "w"});
  ExpectError(worker.status(), absl::StatusCode::kInvalidArgument,
              {"no coordinator answers", absl::StrCat("127.0.0.1:", port), "--shard-index 0"});
  server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace
}  // namespace lockstep::testing
