#!/usr/bin/env bash
# Regenerates the deep copies of the API types and the code of the protocol spoken with Ray's
# head, with the generators that the go.mod beside this script pins. The custom resource
# definitions in deploy/base are written by hand, and a test holds them against the types.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..

# No workspace: the pins in this folder decide, not a go.work above it.
generator=$(mktemp -d)
trap 'rm -rf "$generator"' EXIT
GOWORK=off go -C "$here" build -o "$generator/" \
  sigs.k8s.io/controller-tools/cmd/controller-gen \
  google.golang.org/protobuf/cmd/protoc-gen-go \
  google.golang.org/grpc/cmd/protoc-gen-go-grpc \
  ./protogen

cd "$root"
"$generator/controller-gen" object \
  paths=./api/queue/v2 \
  paths=./api/v1alpha1
"$generator/protogen" -path pkg/ray/gcs/autoscalerpb \
  -plugin "$generator/protoc-gen-go,$generator/protoc-gen-go-grpc" \
  autoscaler.proto
