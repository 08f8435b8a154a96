#!/bin/bash
# Runs a Python test in Bazel without rules for Python: run_python_test.sh FILE [CLASS...].
exec /usr/bin/python3 -B "$@"
