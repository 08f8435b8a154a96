#!/bin/bash
# Runs kill_anything.py on the programs in the runfiles; fails unless the bits are equal and every fail point was hit.
set -euo pipefail
LOCKSTEP_BUILT=$PWD exec /usr/bin/python3 -B "$1" --kills 28 --seed "${LOCKSTEP_SEED:-1}" --every-fail-point
