#!/bin/bash
# Runs kill_anything.py on the programs in the runfiles; fails unless the bits are equal and every fail point was hit. Then
# with a policy that decides who contributes.
set -euo pipefail
export LOCKSTEP_BUILT=$PWD
/usr/bin/python3 -B "$1" --kills 31 --seed "${LOCKSTEP_SEED:-1}" --every-fail-point
/usr/bin/python3 -B "$1" --kills 20 --seed "${LOCKSTEP_SEED:-1}" --no-fail-points --policy quorum --contributors 2
