#!/usr/bin/env bash
# Runs a real RayCluster on a real kubelet. Says what is missing, and succeeds, where it cannot.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

skip() {
  echo "skipped    a real RayCluster on a real kubelet: $1"
  exit 0
}

[[ $(uname -sm) == "Linux x86_64" ]] || skip "needs Linux on amd64, this is $(uname -sm)"
[[ $(id -u) == 0 ]] || skip 'needs root: containers are made'
for program in containerd ctr runc ip ldd; do
  command -v "$program" >/dev/null || skip "$program is missing; on Debian: apt-get install containerd runc containernetworking-plugins iproute2"
done
[[ -x /usr/lib/cni/bridge && -x /usr/lib/cni/host-local ]] || skip 'the plugins bridge and host-local are missing in /usr/lib/cni; on Debian: apt-get install containernetworking-plugins'
mkdir -p /sys/fs/cgroup 2>/dev/null && [[ -w /sys/fs/cgroup ]] || skip 'control groups cannot be written'

# The wheel that make test-ray installs.
test/ray/install.sh || exit 0
. test/ray/version

tools/build.sh kubelet | { grep -v ': up to date$' || true; }
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o _output/bin/pause ./test/kubelet/pause

CAPMGR_RAY=$PWD/_output/ray/$ray/bin CAPMGR_RAY_VERSION=$ray \
  go test -race -count=1 -timeout 15m ${TESTFLAGS:-} ./test/kubelet "$@"
