#!/usr/bin/env bash
# Builds the outside programs that the local control plane needs, from the
# modules pinned beside this script, and copies the data files they come with.
#
#   tools/build.sh            fills _output/bin and _output/share
#   tools/build.sh lint       builds golangci-lint alone
#   tools/build.sh kubelet    builds the kubelet of a real node alone
#   CAPMGR_OUTPUT=dir         fills dir/bin and dir/share instead
#
# What is already there for the same pins, flags and compiler is left alone.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
output=${CAPMGR_OUTPUT:-$here/../_output}
mkdir -p "$output/bin" "$output/share" "$output/stamps"
output=$(cd -- "$output" && pwd)

# No cgo: the binaries then run on any Linux, whatever C library it has.
# No workspace: the pins in this folder decide, not a go.work above it.
export CGO_ENABLED=0 GOWORK=off

kubernetes=v1.36.3
version=k8s.io/component-base/version
strip="-s -w"
# Without a version the API server calls itself v0.0.0, which clients cannot use.
kube="$strip -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=36"

# checksum MODULE WORDS... prints a checksum of all that decides a result.
checksum() {
  local module=$1
  shift
  {
    go -C "$here/$module" version
    cat "$here/$module/go.mod" "$here/$module/go.sum"
    echo "$@"
  } | sha256sum | cut -d ' ' -f 1
}

# fresh RESULT STAMP CHECKSUM says whether RESULT was made from just this.
fresh() {
  [[ -e $1 && -f $2 && $(<"$2") == "$3" ]]
}

# build MODULE NAME PACKAGE LDFLAGS
build() {
  local module=$1 name=$2 package=$3 ldflags=$4 began=$SECONDS sum
  local result=$output/bin/$name stamp=$output/stamps/$name
  sum=$(checksum "$module" "$package" "$ldflags")
  if fresh "$result" "$stamp" "$sum"; then
    echo "$name: up to date"
    return
  fi
  # Renamed into place, so that an interrupted build leaves no half a program
  # and one that is running keeps its file.
  go -C "$here/$module" build -trimpath -ldflags "$ldflags" -o "$result.new" "$package"
  mv -f "$result.new" "$result"
  echo "$sum" >"$stamp"
  echo "$name: built in $((SECONDS - began)) s"
}

# share MODULE PINNED SOURCE TARGET copies folder SOURCE of the module PINNED,
# one of MODULE's requirements, to share/TARGET. The product's own module is "..".
share() {
  local module=$1 pinned=$2 source=$3 target=$4 sum dir
  local result=$output/share/$target stamp=$output/stamps/share-${target//\//-}
  sum=$(checksum "$module" "$pinned" "$source" "$target")
  if fresh "$result" "$stamp" "$sum"; then
    echo "share/$target: up to date"
    return
  fi
  # A build from cached packages fetches no sources, so ask for them by name.
  go -C "$here/$module" mod download "$pinned"
  dir=$(go -C "$here/$module" list -m -f '{{.Dir}}' "$pinned")
  rm -rf "${result:?}"
  mkdir -p "$result"
  cp -R "$dir/$source/." "$result/"
  # The module cache is read-only, and so are plain copies of it.
  chmod -R u+w "$result"
  # Only what the API server takes: a kustomization, the module's Go files and
  # its test inputs would be applied along with the rest of the folder.
  find "$result" \( -name 'kustomization.yaml' -o -name '*.go' \) -delete
  find "$result" -type d -name testdata -prune -exec rm -r {} +
  echo "$sum" >"$stamp"
  echo "share/$target: copied"
}

case ${1:-controlplane} in
lint)
  # The linter prints the version it was told, and its configuration names a minimum.
  linter=github.com/golangci/golangci-lint/v2
  release=$(go -C "$here/lint" list -m -f '{{.Version}}' $linter)
  build lint golangci-lint $linter/cmd/golangci-lint "$strip -X main.version=${release#v}"
  exit
  ;;
kubelet)
  old=v1.33.13
  build kubelet kubelet k8s.io/kubernetes/cmd/kubelet "$strip -X $version.gitVersion=$old -X $version.gitMajor=1 -X $version.gitMinor=33"
  exit
  ;;
controlplane) ;;
*)
  echo "usage: tools/build.sh [controlplane|kubelet|lint]" >&2
  exit 2
  ;;
esac

kuberay=github.com/ray-project/kuberay/ray-operator
kwok=sigs.k8s.io/kwok

share kuberay $kuberay config/crd/bases kuberay/crds
share kuberay $kuberay config/samples kuberay/samples
share .. k8s.io/autoscaler/cluster-autoscaler/apis config/crd autoscaler/crds
share controlplane $kwok kustomize/crd/bases kwok/crds
share controlplane $kwok kustomize/stage/node/fast kwok/stages/node
share controlplane $kwok kustomize/stage/pod/fast kwok/stages/pod

build controlplane etcd go.etcd.io/etcd/server/v3 "$strip"
build controlplane kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "$kube"
build controlplane kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager "$kube"
build controlplane kubectl k8s.io/kubernetes/cmd/kubectl "$kube"
build controlplane kwok $kwok/cmd/kwok "$strip"
build kuberay kuberay-operator $kuberay "$strip"
