#!/usr/bin/env bash
# Install what is missing, build with warnings as errors, and run every test.
#   tests/run.sh [arguments for ctest, for example -R ops_]
# Without a GPU the tests run on Mesa's software driver. Nothing is downloaded where the packages are there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

toolchain/packages.sh test
cmake --preset ci
cmake --build --preset ci
exec ctest --preset ci "$@"
