#!/bin/bash
# Proves that the cores are pure: they depend on nothing but ids, the model, weights, planted bugs and Abseil (from Bazel's own account of their
# dependencies), and their sources include and call nothing that reads a clock, locks, starts a thread, draws a random number
# or does I/O.
#
#   purity_scan.sh FILE_WITH_DEPENDENCIES SOURCE...
set -uo pipefail

failed=0
fail() {
  echo "$1" >&2
  failed=1
}

dependencies=$1
shift
[[ -s $dependencies ]] || fail "no dependencies are listed: the test itself is broken"
libraries='^(//server/core:(shard|coordinator|checkpoints|not_finite|resume|round_policy|sealed_shard)|//worker/client:session|//common:(ids|model|mutation|weight)|@system//:absl|@bazel_tools//.*)$'
while IFS= read -r label; do
  [[ $label =~ $libraries ]] && continue
  file=${label#//}
  [[ " $* " == *" ${file/://} "* ]] || fail "a core depends on $label; only //common:ids, //common:model, //common:mutation, //common:weight and Abseil are allowed"
done <"$dependencies"

includes='#include *[<"](thread|mutex|shared_mutex|condition_variable|future|atomic|stop_token|chrono|random|fstream|iostream|cstdio|ctime|filesystem|unistd\.h|time\.h|pthread\.h|sys/.*|grpc.*|absl/synchronization/.*|absl/time/clock\.h|absl/random/.*)[>"]'
calls='absl::Now|absl::SleepFor|std::chrono|std::thread|std::this_thread|std::rand\b|\brand\(|getenv|gettimeofday|clock_gettime|\bprintf\('
for source in "$@"; do
  while IFS= read -r line; do fail "$source:$line: not in a core"; done < <(grep -nE "$includes|$calls" "$source")
done

[[ $failed == 0 ]] && echo "pure: $# sources, $(wc -l <"$dependencies") dependencies"
exit "$failed"
