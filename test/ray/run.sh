#!/usr/bin/env bash
# Runs the tests against a real Ray, in an environment of its own below _output.
#
#   test/ray/run.sh              checks
#   test/ray/run.sh -update      also records what Ray said as vectors of pkg/ray/gcs
#
# Says what is missing, and succeeds, where it cannot be had.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
test/ray/install.sh || exit 0
. test/ray/version

CAPMGR_RAY=$PWD/_output/ray/$ray/bin CAPMGR_RAY_VERSION=$ray \
  go test -race -count=1 -timeout 10m ${TESTFLAGS:-} ./test/ray "$@"

# What was recorded is read anew; look at the difference before committing it.
if [[ " $* " == *" -update "* ]]; then
  go test -race -count=1 ./pkg/ray/gcs -run TestVectors -update
fi
