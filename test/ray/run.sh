#!/usr/bin/env bash
# Runs the tests against a real Ray, in an environment of its own below _output.
#
#   test/ray/run.sh              checks
#   test/ray/run.sh -update      also records what Ray said as vectors of pkg/ray/gcs
#
# Says what is missing, and succeeds, where it cannot be had.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

ray=2.60.0
home=$PWD/_output/ray/$ray

skip() {
  echo "skipped    tests on a real Ray: $1"
  exit 0
}

if [[ ! -e $home/complete ]]; then
  command -v python3 >/dev/null || skip 'python3 is missing'
  rm -rf "$home"; mkdir -p "${home%/*}"
  python3 -m venv "$home" >"$home.log" 2>&1 || skip "python3 makes no virtual environment; see $home.log"
  "$home/bin/pip" install --quiet --disable-pip-version-check "ray==$ray" >"$home.log" 2>&1 \
    || skip "pip does not install ray==$ray; see $home.log"
  touch "$home/complete"
fi
"$home/bin/python" -c 'import ray' 2>"$home.log" || skip "ray cannot be imported; see $home.log"

CAPMGR_RAY=$home/bin CAPMGR_RAY_VERSION=$ray \
  go test -race -count=1 -timeout 10m ${TESTFLAGS:-} ./test/ray "$@"

# What was recorded is read anew; look at the difference before committing it.
if [[ " $* " == *" -update "* ]]; then
  go test -race -count=1 ./pkg/ray/gcs -run TestVectors -update
fi
