#!/bin/bash
# Runs a Python test in Bazel without rules for Python: run_python_test.sh FILE.
exec /usr/bin/python3 -B "$1"
