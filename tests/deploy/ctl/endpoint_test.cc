#include "deploy/ctl/endpoint.h"

#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace lockstep::ctl {
namespace {

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = absl::StrCat(testing::TempDir(), "/", name);
  std::ofstream(path) << text;
  return path;
}

TEST(CheckHostPort, GoodAddresses_AreTaken) {
  for (const char* address : {"localhost:1", "10.0.0.1:7000", "[::1]:65535", "shard-0.ps:7000"}) {
    EXPECT_TRUE(CheckHostPort(address).ok()) << address;
  }
}

TEST(CheckHostPort, BadAddresses_AreExplained) {
  for (const char* address :
       {"", "host", ":7000", "host:", "host:0", "host:65536", "host:7x", "::1:7000", "a b:7000", "http://host:7000"}) {
    const absl::Status status = CheckHostPort(address);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << address;
    EXPECT_TRUE(absl::StrContains(status.message(), "HOST:PORT")) << status;
  }
}

TEST(ResolveEndpoint, Nothing_SaysHowToGiveOne) {
  const auto endpoint = ResolveEndpoint("");
  EXPECT_TRUE(absl::IsInvalidArgument(endpoint.status()));
  EXPECT_TRUE(absl::StrContains(endpoint.status().message(), "LOCKSTEP_ENDPOINT"));
}

TEST(ResolveEndpoint, HostAlone_GetsTheDefaultPort) {
  EXPECT_EQ(*ResolveEndpoint("lockstep-shard-0.lockstep-shards"), "lockstep-shard-0.lockstep-shards:7700");
}

TEST(ResolveEndpoint, FileWithAddress_GivesTheAddress) {
  EXPECT_EQ(*ResolveEndpoint(WriteFile("endpoint", " 127.0.0.1:7000 \n")), "127.0.0.1:7000");
}

TEST(ResolveEndpoint, MissingFile_IsUnavailableAndNamed) {
  const auto endpoint = ResolveEndpoint("no/such/endpoint");
  EXPECT_TRUE(absl::IsUnavailable(endpoint.status()));
  EXPECT_TRUE(absl::StrContains(endpoint.status().message(), "no/such/endpoint"));
}

TEST(ResolveEndpoint, FileWithRubbish_NamesTheFile) {
  const std::string path = WriteFile("rubbish", std::string("\x01\x02 rubbish"));
  const auto endpoint = ResolveEndpoint(path);
  EXPECT_TRUE(absl::IsInvalidArgument(endpoint.status()));
  EXPECT_TRUE(absl::StrContains(endpoint.status().message(), path));
}

TEST(ResolveEndpoint, Url_IsRefusedAsAnAddress) {
  EXPECT_TRUE(absl::IsInvalidArgument(ResolveEndpoint("http://127.0.0.1:7000/").status()));
}

}  // namespace
}  // namespace lockstep::ctl
