#include "tests/sim/plan.h"

#include "tests/sim/random.h"

namespace lockstep::sim {
namespace {

// Half of the time never; otherwise about every lo..hi.
absl::Duration DrawInterval(Random& random, absl::Duration lo, absl::Duration hi, uint32_t on = 500) {
  return random.Chance(on) ? random.Skewed(lo, hi) : absl::InfiniteDuration();
}

uint32_t DrawChance(Random& random, uint64_t most) {
  return random.Chance(500) ? static_cast<uint32_t>(random.Between(1, most)) : 0;
}

void DrawCluster(Random& random, Plan& plan) {
  plan.workers = static_cast<uint32_t>(random.Chance(250) ? random.Between(9, 12) : random.Between(1, 8));
  plan.connections = static_cast<uint32_t>(random.Between(1, 3));
  plan.rounds = random.Between(3, 12);
  plan.elements.resize(random.Between(1, 4));
  for (auto& shard : plan.elements) {
    shard.resize(random.Chance(100) ? 0 : random.Between(0, 6));
    for (uint32_t& elements : shard) elements = static_cast<uint32_t>(random.Between(1, 5));
  }
  plan.zero_weight = DrawChance(random, 400);
}

void DrawPace(Random& random, Plan& plan) {
  plan.lease = random.Between(absl::Seconds(1), absl::Seconds(5));
  plan.compute = random.Skewed(absl::Milliseconds(5), absl::Milliseconds(500));
  plan.slow_worker = DrawChance(random, 400);
  plan.reduce = random.Skewed(absl::Microseconds(50), absl::Milliseconds(50));
  plan.delay = random.Skewed(absl::Microseconds(100), absl::Milliseconds(20));
  plan.disk = random.Skewed(absl::Microseconds(20), absl::Milliseconds(30));
  plan.syncs = random.Chance(500);
  plan.start = random.Skewed(absl::Milliseconds(1), absl::Seconds(3));
  plan.faults_end = absl::UnixEpoch() + plan.start + random.Skewed(absl::Seconds(1), absl::Seconds(25));
  plan.deadline = plan.faults_end + absl::Minutes(5);
}

core::RoundPolicy DrawPolicy(Random& random, const Plan& plan) {
  core::RoundPolicy policy;
  if (random.Chance(500)) return policy;
  policy.kind = random.Chance(600) ? core::RoundPolicy::Kind::kQuorum : core::RoundPolicy::Kind::kDeadline;
  policy.contributors = static_cast<uint32_t>(random.Between(1, plan.workers));
  if (policy.kind == core::RoundPolicy::Kind::kDeadline)
    policy.deadline = random.Skewed(absl::Milliseconds(1), absl::Seconds(2));
  return policy;
}

void DrawElastic(Random& random, Plan& plan) {
  plan.elastic = random.Chance(300);
  if (!plan.elastic) return;
  plan.min_workers = static_cast<uint32_t>(random.Between(1, plan.workers));
  plan.max_workers = static_cast<uint32_t>(plan.workers + random.Between(0, 3));
  plan.replace_timeout = random.Skewed(absl::Milliseconds(100), absl::Seconds(5));
  plan.faults.newcomer = DrawInterval(random, absl::Milliseconds(150), absl::Seconds(4), 700);
  plan.faults.leave_early = DrawChance(random, 150);
  plan.faults.forsake = DrawChance(random, 950);
}

FaultPlan DrawFaults(Random& random, const Plan& plan) {
  const absl::Duration often = absl::Milliseconds(150);
  const absl::Duration seldom = absl::Seconds(6);
  FaultPlan faults;
  faults.newcomer = absl::InfiniteDuration();
  faults.crash = DrawInterval(random, often, seldom);
  faults.pause = DrawInterval(random, often, seldom);
  faults.evict = DrawInterval(random, often, 2 * seldom, 250);
  faults.break_worker = DrawInterval(random, often, seldom);
  faults.break_shard = DrawInterval(random, often, seldom);
  faults.break_data = DrawInterval(random, absl::Milliseconds(10), seldom);
  faults.pause_shard = DrawInterval(random, often, seldom);
  faults.stranger = DrawInterval(random, often, seldom, 100);
  faults.wrong_model = DrawInterval(random, often, seldom, 150);
  faults.lose_shard = DrawInterval(random, often, seldom, 40);
  faults.crash_shard = DrawInterval(random, often, seldom, 350);
  faults.crash_coordinator = DrawInterval(random, often, seldom, 250);
  faults.crash_all = DrawInterval(random, 4 * often, 2 * seldom, 200);
  faults.partition = DrawInterval(random, often, seldom, 350);
  faults.pause_all = DrawInterval(random, often, 2 * seldom, 150);
  faults.break_shard_in_change = DrawChance(random, 200);
  faults.flap = DrawChance(random, 200);
  faults.break_worker_at_leave = DrawChance(random, 200);
  faults.duplicate = DrawChance(random, 200);
  faults.slow_store = DrawChance(random, 300);
  faults.delay_spike = DrawChance(random, 50);
  faults.other_name = DrawChance(random, 500);
  faults.replace_paused = DrawChance(random, 900);
  faults.slow_disk = random.Chance(300) ? static_cast<uint32_t>(random.Between(1, 100)) : 0;
  faults.crash_in_write = random.Chance(300) ? static_cast<uint32_t>(random.Between(1, 300)) : 0;
  faults.crash_again = random.Chance(300) ? static_cast<uint32_t>(random.Between(1, 700)) : 0;
  faults.crash_at_end = DrawChance(random, 500);
  faults.power_loss = plan.syncs ? DrawChance(random, 900) : 0;
  return faults;
}

// A run in which little happens but that disks are lost at the worst moments, again and again.
void Drill(Random& random, Plan& plan) {
  FaultPlan& faults = plan.faults;
  for (absl::Duration* fault : {&faults.crash, &faults.pause, &faults.evict, &faults.break_worker, &faults.pause_shard,
                                &faults.stranger, &faults.wrong_model, &faults.crash_shard, &faults.crash_coordinator,
                                &faults.crash_all, &faults.partition, &faults.pause_all}) {
    if (random.Chance(800)) *fault = absl::InfiniteDuration();
  }
  faults.slow_disk = faults.crash_in_write = faults.crash_again = 0;
  if (plan.elements.size() < 2) plan.elements.push_back(plan.elements.front());
  plan.rounds = random.Between(10, 24);
  plan.compute = random.Skewed(absl::Milliseconds(5), absl::Milliseconds(200));
  plan.lease = random.Between(absl::Seconds(1), absl::Seconds(2));
  plan.faults_end = absl::UnixEpoch() + plan.start + absl::Seconds(25);
  plan.deadline = plan.faults_end + absl::Minutes(5);
  plan.checkpoints.rounds = random.Between(uint64_t{1}, random.Between(1, 3));
  plan.checkpoints.journal = !random.Chance(100);
  faults.lose_shard = random.Skewed(absl::Seconds(1), absl::Seconds(20));
  faults.lose_in_checkpoint = DrawChance(random, 100);
  faults.lose_in_manifest = DrawChance(random, 400);
  faults.lose_after_checkpoint = DrawChance(random, 300);
  faults.crash_in_going_back = DrawChance(random, 900);
  faults.crash_after_restore = DrawChance(random, 900);
}

// Of its own random numbers, so that runs without checkpoints are what they are.
void DrawCheckpoints(Plan& plan) {
  Random random(Mix({plan.seed, 9}));
  FaultPlan& faults = plan.faults;
  const absl::Duration often = absl::Milliseconds(150);
  const absl::Duration seldom = absl::Seconds(6);
  faults.jump_wall = DrawInterval(random, often, seldom, 300);
  if (!random.Chance(450)) return;
  plan.rounds += random.Between(0, 8);
  plan.checkpoints = {.rounds = random.Between(uint64_t{1}, random.Between(1, 4)),
                      .interval = DrawInterval(random, absl::Milliseconds(50), absl::Seconds(5), 300),
                      .keep = static_cast<uint32_t>(random.Between(1, 3)),
                      .write = random.Skewed(absl::Microseconds(50), absl::Milliseconds(300)),
                      .journal = !random.Chance(200)};
  faults.lose_shard = DrawInterval(random, often, seldom, 600);
  faults.lose_most = static_cast<uint32_t>(random.Between(1, 4));
  faults.lose_again = DrawChance(random, 700);
  faults.lose_in_checkpoint = DrawChance(random, 200);
  faults.lose_in_manifest = DrawChance(random, 500);
  faults.lose_after_checkpoint = DrawChance(random, 500);
  faults.crash_in_going_back = DrawChance(random, 700);
  faults.slow_checkpoint = DrawChance(random, 300);
  faults.crash_after_restore = DrawChance(random, 600);
  faults.crash_in_checkpoint = DrawChance(random, 60);
  if (random.Chance(300)) Drill(random, plan);
}

}  // namespace

Plan DrawPlan(uint64_t seed) {
  Random random(Mix({seed, 1}));
  Plan plan;
  plan.seed = seed;
  DrawCluster(random, plan);
  DrawPace(random, plan);
  plan.faults = DrawFaults(random, plan);
  plan.policy = DrawPolicy(random, plan);
  DrawElastic(random, plan);
  DrawCheckpoints(plan);
  return plan;
}

ModelSpec ModelOf(const Plan& plan) {
  ModelSpec model;
  for (const auto& shard : plan.elements) {
    for (uint32_t elements : shard) {
      model.tensors.push_back({.name = "t" + std::to_string(model.tensors.size()), .shape = {elements}});
    }
  }
  if (model.tensors.empty()) model.tensors.push_back({.name = "nothing", .shape = {1}});
  return model;
}

}  // namespace lockstep::sim
