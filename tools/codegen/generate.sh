#!/usr/bin/env bash
# Regenerates the deep copies of the API types, with the generator that the go.mod
# beside this script pins. The custom resource definitions in deploy/base are
# written by hand, and a test holds them against the types.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..

# No workspace: the pins in this folder decide, not a go.work above it.
generator=$(mktemp -d)
trap 'rm -rf "$generator"' EXIT
GOWORK=off go -C "$here" build -o "$generator/controller-gen" \
  sigs.k8s.io/controller-tools/cmd/controller-gen

cd "$root"
"$generator/controller-gen" object \
  paths=./api/queue/v2 \
  paths=./api/v1alpha1
