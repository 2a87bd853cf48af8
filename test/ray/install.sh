#!/usr/bin/env bash
# Installs Ray's wheel into an environment of its own below _output, once. Says why, and fails, where
# that cannot be.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
. test/ray/version
home=$PWD/_output/ray/$ray

skip() {
  echo "skipped    tests on a real Ray: $1"
  exit 1
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
