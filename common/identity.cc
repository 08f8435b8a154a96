#include "common/identity.h"

#include <netdb.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace lockstep {
namespace {

// What one place says; absent: nothing.
template <typename T>
using Said = absl::StatusOr<std::optional<T>>;

template <typename T>
struct Candidate {
  std::string source;
  Said<T> said;
};

template <typename T>
struct Found {
  T value;
  std::string source;
};

// Takes the first that says something, and tells so.
template <typename T>
absl::StatusOr<std::optional<Found<T>>> First(const std::string& what, const std::vector<Candidate<T>>& candidates,
                                              std::vector<std::string>& lines) {
  std::optional<Found<T>> found;
  std::string others;
  for (const Candidate<T>& candidate : candidates) {
    if (!candidate.said.ok() && found) continue;
    if (!candidate.said.ok()) return candidate.said.status();
    const std::optional<T>& said = *candidate.said;
    if (!said) continue;
    if (!found) {
      found = Found<T>{*said, candidate.source};
    } else if (*said != found->value) {
      absl::StrAppend(&others, "; ", candidate.source, " says ", *said, ", which is not used");
    }
  }
  if (found) lines.push_back(absl::StrCat(what, " ", found->value, " (", found->source, others, ")"));
  return found;
}

absl::Status Misunderstood(const std::string& source, absl::string_view expected, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(source, ": expected ", expected, ", but got '", text, "'"));
}

Said<uint32_t> Number(const Surroundings& surroundings, const std::string& variable, uint32_t least, uint32_t most) {
  const std::optional<std::string> text = surroundings.variable(variable);
  if (!text) return std::nullopt;
  uint32_t number = 0;
  if (absl::SimpleAtoi(*text, &number) && number >= least && number <= most) return number;
  return Misunderstood(variable, absl::StrCat("a number from ", least, " to ", most), *text);
}

// The largest of "4" or "2:4".
Said<uint32_t> NodeCount(const Surroundings& surroundings, const std::string& variable) {
  const std::optional<std::string> text = surroundings.variable(variable);
  if (!text) return std::nullopt;
  uint32_t number = 0;
  if (absl::SimpleAtoi(text->substr(text->rfind(':') + 1), &number) && number >= 1) return number;
  return Misunderstood(variable, "a number of nodes such as 4 or 2:4", *text);
}

absl::Status CheckAddress(const std::string& source, const std::string& address) {
  if (absl::StrContains(address, "$(")) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": '", address,
                     "' still has a $(VARIABLE) in it: Kubernetes fills in only those that the container's "
                     "own env declares (HOSTNAME is not among them; declare one from metadata.name)"));
  }
  const bool bad = address.empty() || address.front() == ':' || address.find_first_of(" \t/") != std::string::npos;
  if (bad) return Misunderstood(source, absl::StrCat("HOST or HOST:PORT, such as 10.0.0.1:", kDefaultPort), address);
  return absl::OkStatus();
}

Said<std::string> Address(const std::string& source, const std::optional<std::string>& address) {
  if (!address) return std::nullopt;
  if (absl::Status status = CheckAddress(source, *address); !status.ok()) return status;
  return address;
}

Said<std::string> AddressIn(const Surroundings& surroundings, const std::string& variable) {
  return Address(variable, surroundings.variable(variable));
}

template <typename T>
Said<T> Flag(const std::optional<T>& value) {
  return value;
}

// ---- TF_CONFIG ----

// {"cluster": {"ps": ["host:port", ...], "worker": [...], "chief": [...]}, "task": {"type": "worker", "index": 0}}
struct TfConfig {
  std::vector<std::string> chiefs;  // "chief" or, in older ones, "master"
  std::vector<std::string> workers;
  std::vector<std::string> shards;  // "ps"
  std::string type;
  uint32_t index = 0;

  std::optional<uint32_t> rank() const {
    if (type == "chief" || type == "master") return index;
    if (type == "worker") return static_cast<uint32_t>(chiefs.size()) + index;
    return std::nullopt;
  }
  std::optional<uint32_t> shard_index() const { return type == "ps" ? std::make_optional(index) : std::nullopt; }
  std::optional<uint32_t> worker_count() const {
    const auto count = static_cast<uint32_t>(chiefs.size() + workers.size());
    return count > 0 ? std::make_optional(count) : std::nullopt;
  }
  std::optional<uint32_t> shard_count() const {
    return shards.empty() ? std::nullopt : std::make_optional(static_cast<uint32_t>(shards.size()));
  }
  std::optional<std::string> shard_address(uint32_t shard) const {
    return shard < shards.size() ? std::make_optional(shards[shard]) : std::nullopt;
  }
};

constexpr char kTfConfig[] = "TF_CONFIG";

void ReadHosts(const nlohmann::json& cluster, const char* job, std::vector<std::string>& hosts) {
  const auto at = cluster.find(job);
  if (at == cluster.end() || !at->is_array()) return;
  for (const nlohmann::json& host : *at) {
    if (host.is_string()) hosts.push_back(host.get<std::string>());
  }
}

Said<TfConfig> ReadTfConfig(const Surroundings& surroundings) {
  const std::optional<std::string> text = surroundings.variable(kTfConfig);
  if (!text) return std::nullopt;
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  const absl::Status bad = Misunderstood(
      kTfConfig, R"(JSON such as {"cluster": {"worker": ["HOST:PORT"]}, "task": {"type": "worker", "index": 0}})",
      text->substr(0, 200));
  if (!json.is_object()) return bad;
  TfConfig config;
  if (const auto cluster = json.find("cluster"); cluster != json.end() && cluster->is_object()) {
    ReadHosts(*cluster, "chief", config.chiefs);
    ReadHosts(*cluster, "master", config.chiefs);
    ReadHosts(*cluster, "worker", config.workers);
    ReadHosts(*cluster, "ps", config.shards);
  }
  const auto task = json.find("task");
  if (task == json.end()) return config;
  if (!task->is_object() || !task->contains("type") || !task->at("type").is_string()) return bad;
  config.type = task->at("type").get<std::string>();
  if (!task->contains("index")) return config;
  // Some operators write it as text.
  const nlohmann::json& index = task->at("index");
  const bool number = index.is_number_unsigned() && index.get<uint64_t>() <= kMostWorkers;
  if (number) config.index = index.get<uint32_t>();
  if (!number && !(index.is_string() && absl::SimpleAtoi(index.get<std::string>(), &config.index))) return bad;
  return config;
}

template <typename T, typename Take>
Candidate<T> FromTfConfig(const Said<TfConfig>& config, Take take) {
  if (!config.ok()) return {kTfConfig, config.status()};
  if (!*config) return {kTfConfig, std::nullopt};
  return {kTfConfig, take(**config)};
}

// ---- The host's name ----

// N of "lockstep-shard-N"; absent if the name does not end so.
std::optional<uint32_t> Ordinal(absl::string_view host) {
  const absl::string_view label = host.substr(0, host.find('.'));
  const size_t dash = label.rfind('-');
  uint32_t ordinal = 0;
  if (dash == absl::string_view::npos || dash == 0 || dash + 1 == label.size()) return std::nullopt;
  for (char c : label.substr(dash + 1)) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return std::nullopt;
  }
  if (!absl::SimpleAtoi(label.substr(dash + 1), &ordinal)) return std::nullopt;
  return ordinal;
}

// "lockstep-shard-2.shards:7700" -> "lockstep-shard-0.shards:7700"; absent unless it is that of ordinal `mine`.
std::optional<std::string> OfOrdinal0(const std::string& address, uint32_t mine) {
  const std::string host = address.substr(0, address.find(':'));
  if (Ordinal(host) != mine) return std::nullopt;
  const std::string label = host.substr(0, host.find('.'));
  return absl::StrCat(label.substr(0, label.rfind('-')), "-0", address.substr(label.size()));
}

std::string HostSource(const Surroundings& surroundings) { return absl::StrCat("the host name ", surroundings.host); }

// A Job gives each life of a pod another name, "JOB-INDEX-x7k2p", but the same place: "JOB-INDEX".
std::string WithoutPodSuffix(const std::string& name, const Surroundings& surroundings) {
  constexpr size_t kSuffix = 6;  // "-x7k2p"
  const std::optional<std::string> index = surroundings.variable("JOB_COMPLETION_INDEX");
  if (!index || name.size() <= kSuffix || name[name.size() - kSuffix] != '-') return name;
  const std::string stem = name.substr(0, name.size() - kSuffix);
  for (char c : name.substr(name.size() - kSuffix + 1)) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c))) return name;
  }
  return absl::EndsWith(stem, absl::StrCat("-", *index)) ? stem : name;
}

// Several processes of one host (torchrun) are several workers.
std::string OfThisProcess(std::string name, const Surroundings& surroundings) {
  const std::optional<std::string> local = surroundings.variable("LOCAL_RANK");
  return local ? absl::StrCat(name, "-", *local) : name;
}

Said<std::string> HostName(const Surroundings& surroundings, const std::optional<std::string>& host) {
  if (!host || host->empty()) return std::nullopt;
  return OfThisProcess(WithoutPodSuffix(*host, surroundings), surroundings);
}

uint16_t PortOf(const std::string& address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  const bool has = colon != std::string::npos && absl::SimpleAtoi(address.substr(colon + 1), &port);
  return has && port > 0 && port <= 65535 ? static_cast<uint16_t>(port) : kDefaultPort;
}

}  // namespace

std::string WithPort(absl::string_view address, uint16_t port) {
  const size_t bracket = address.rfind(']');
  const size_t from = bracket == absl::string_view::npos ? 0 : bracket;
  if (address.find(':', from) != absl::string_view::npos) return std::string(address);
  return absl::StrCat(address, ":", port);
}

Surroundings Surroundings::OfThisProcess() {
  Surroundings surroundings;
  surroundings.variable = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  };
  char name[256] = "localhost";
  gethostname(name, sizeof(name) - 1);
  surroundings.host = surroundings.full_host = name;
  // Only where it is in use: elsewhere it may cost seconds, and names that other machines do not know.
  if (!surroundings.variable("KUBERNETES_SERVICE_HOST")) return surroundings;
  addrinfo hints = {};
  hints.ai_flags = AI_CANONNAME;
  addrinfo* answer = nullptr;
  if (getaddrinfo(name, nullptr, &hints, &answer) == 0) {
    if (answer->ai_canonname != nullptr) surroundings.full_host = answer->ai_canonname;
    freeaddrinfo(answer);
  }
  return surroundings;
}

absl::StatusOr<WorkerPlace> FindWorkerPlace(const GivenWorkerPlace& given, const Surroundings& surroundings) {
  WorkerPlace place;
  const Said<TfConfig> tf = ReadTfConfig(surroundings);

  const auto endpoint = First<std::string>(
      "endpoint",
      {{"--endpoint", Address("--endpoint", given.endpoint)},
       {"LOCKSTEP_ENDPOINT", AddressIn(surroundings, "LOCKSTEP_ENDPOINT")},
       {"LOCKSTEP_COORDINATOR", AddressIn(surroundings, "LOCKSTEP_COORDINATOR")},
       FromTfConfig<std::string>(tf, [](const TfConfig& config) { return config.shard_address(0); })},
      place.found);
  if (!endpoint.ok()) return endpoint.status();
  if (!*endpoint) {
    return absl::InvalidArgumentError(
        "no endpoint: give --endpoint HOST:PORT or set LOCKSTEP_ENDPOINT, the address of the lockstep-server with "
        "--shard-index 0");
  }
  place.endpoint = WithPort((*endpoint)->value);

  constexpr uint32_t kLastRank = kMostWorkers - 1;
  const auto rank = First<uint32_t>(
      "rank",
      {{"--rank", Flag(given.rank)},
       {"LOCKSTEP_RANK", Number(surroundings, "LOCKSTEP_RANK", 0, kLastRank)},
       {"JOB_COMPLETION_INDEX", Number(surroundings, "JOB_COMPLETION_INDEX", 0, kLastRank)},
       {"RANK", Number(surroundings, "RANK", 0, kLastRank)},
       {"PET_NODE_RANK", Number(surroundings, "PET_NODE_RANK", 0, kLastRank)},
       FromTfConfig<uint32_t>(tf, [](const TfConfig& config) { return config.rank(); }),
       {HostSource(surroundings), given.rank_from_hostname ? Ordinal(surroundings.host) : std::optional<uint32_t>()}},
      place.found);
  if (!rank.ok()) return rank.status();
  if (*rank) place.rank = (*rank)->value;
  if (!*rank && given.rank_from_hostname) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rank-from-hostname: expected a host name that ends in -N, as that of a StatefulSet's pod, but ",
                     "this is ", surroundings.host));
  }
  if (!*rank) place.found.push_back("rank: whichever is free (nothing names one)");

  const auto name = First<std::string>("name",
                                       {{"--name", Flag(given.name)},
                                        {"LOCKSTEP_NAME", Flag(surroundings.variable("LOCKSTEP_NAME"))},
                                        {"HOSTNAME", HostName(surroundings, surroundings.variable("HOSTNAME"))}},
                                       place.found);
  if (!name.ok()) return name.status();
  place.name = *name ? (*name)->value : **HostName(surroundings, surroundings.host);
  if (!*name) place.found.push_back(absl::StrCat("name ", place.name, " (the host name)"));

  const auto workers =
      First<uint32_t>("workers",
                      {{"LOCKSTEP_WORKERS", Number(surroundings, "LOCKSTEP_WORKERS", 1, kMostWorkers)},
                       {"WORLD_SIZE", Number(surroundings, "WORLD_SIZE", 1, kMostWorkers)},
                       {"PET_NNODES", NodeCount(surroundings, "PET_NNODES")},
                       FromTfConfig<uint32_t>(tf, [](const TfConfig& config) { return config.worker_count(); })},
                      place.found);
  if (!workers.ok()) return workers.status();
  if (*workers) place.workers = (*workers)->value;
  return place;
}

absl::StatusOr<ServerPlace> FindServerPlace(const GivenServerPlace& given, const Surroundings& surroundings) {
  ServerPlace place;
  const Said<TfConfig> tf = ReadTfConfig(surroundings);

  const auto shards =
      First<uint32_t>("shards",
                      {{"--shards", Flag(given.shards)},
                       {"LOCKSTEP_SHARDS", Number(surroundings, "LOCKSTEP_SHARDS", 1, kMostShards)},
                       FromTfConfig<uint32_t>(tf, [](const TfConfig& config) { return config.shard_count(); }),
                       {"the default", std::make_optional<uint32_t>(1)}},
                      place.found);
  if (!shards.ok()) return shards.status();
  place.shards = (*shards)->value;

  const auto workers =
      First<uint32_t>("workers",
                      {{"--workers", Flag(given.workers)},
                       {"LOCKSTEP_WORKERS", Number(surroundings, "LOCKSTEP_WORKERS", 1, kMostWorkers)},
                       FromTfConfig<uint32_t>(tf, [](const TfConfig& config) { return config.worker_count(); }),
                       {"the default", std::make_optional<uint32_t>(1)}},
                      place.found);
  if (!workers.ok()) return workers.status();
  place.workers = (*workers)->value;

  // A machine may have any number in its name: it counts only where there are several shards to tell apart.
  const std::optional<uint32_t> ordinal = place.shards > 1 ? Ordinal(surroundings.host) : std::nullopt;
  const auto index =
      First<uint32_t>("shard index",
                      {{"--shard-index", Flag(given.shard_index)},
                       {"LOCKSTEP_SHARD_INDEX", Number(surroundings, "LOCKSTEP_SHARD_INDEX", 0, kMostShards - 1)},
                       {"JOB_COMPLETION_INDEX", Number(surroundings, "JOB_COMPLETION_INDEX", 0, kMostShards - 1)},
                       FromTfConfig<uint32_t>(tf, [](const TfConfig& config) { return config.shard_index(); }),
                       {HostSource(surroundings), ordinal}},
                      place.found);
  if (!index.ok()) return index.status();
  if (!*index && place.shards > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("which of the ", place.shards,
                     " shards is this? Give --shard-index or set LOCKSTEP_SHARD_INDEX (the host name ",
                     surroundings.host, " does not end in -N, as that of a StatefulSet's pod would)"));
  }
  place.shard_index = *index ? (*index)->value : 0;
  if (!*index) place.found.push_back("shard index 0 (the only shard)");
  if (place.shard_index >= place.shards) {
    return absl::InvalidArgumentError(absl::StrCat("shard index ", place.shard_index, " (", (*index)->source,
                                                   ") is not one of shards 0 to ", place.shards - 1, ": there are ",
                                                   place.shards, " (", (*shards)->source, ")"));
  }

  const uint32_t self = place.shard_index;
  const auto own = [self](const TfConfig& config) {
    return config.shard_index() == self ? config.shard_address(self) : std::nullopt;
  };
  const auto bind = First<std::string>("bind",
                                       {{"--bind", Address("--bind", given.bind)},
                                        {"LOCKSTEP_BIND", AddressIn(surroundings, "LOCKSTEP_BIND")},
                                        FromTfConfig<std::string>(tf,
                                                                  [&](const TfConfig& config) {
                                                                    std::optional<std::string> address = own(config);
                                                                    if (address) {
                                                                      address =
                                                                          absl::StrCat("0.0.0.0:", PortOf(*address));
                                                                    }
                                                                    return address;
                                                                  }),
                                        {"the default", std::make_optional(absl::StrCat("0.0.0.0:", kDefaultPort))}},
                                       place.found);
  if (!bind.ok()) return bind.status();
  place.bind = WithPort((*bind)->value);

  const auto advertise = First<std::string>("advertise",
                                            {{"--advertise", Address("--advertise", given.advertise)},
                                             {"LOCKSTEP_ADVERTISE", AddressIn(surroundings, "LOCKSTEP_ADVERTISE")},
                                             FromTfConfig<std::string>(tf, own)},
                                            place.found);
  if (!advertise.ok()) return advertise.status();
  if (*advertise) place.advertise = (*advertise)->value;
  place.advertise_host = surroundings.full_host;

  // The pods of a StatefulSet have all the same name but for the ordinal.
  std::optional<std::string> sibling;
  if (self > 0) {
    const std::string mine = place.advertise.empty() ? surroundings.full_host : place.advertise;
    sibling = OfOrdinal0(WithPort(mine, PortOf(place.bind)), self);
  }
  const auto coordinator =
      First<std::string>("coordinator",
                         {{"--coordinator", Address("--coordinator", given.coordinator)},
                          {"LOCKSTEP_COORDINATOR", AddressIn(surroundings, "LOCKSTEP_COORDINATOR")},
                          FromTfConfig<std::string>(tf, [](const TfConfig& config) { return config.shard_address(0); }),
                          {"this shard's name with ordinal 0", sibling}},
                         place.found);
  if (!coordinator.ok()) return coordinator.status();
  if (*coordinator) place.coordinator = WithPort((*coordinator)->value);
  if (!*coordinator && self > 0) {
    return absl::InvalidArgumentError(
        "--coordinator HOST:PORT or LOCKSTEP_COORDINATOR (the address of shard 0) is needed on every shard but 0");
  }
  return place;
}

}  // namespace lockstep
