#!/usr/bin/env bash
# Builds the images with the local Docker Engine and prints their sizes.
#   scripts/images.sh [worker|server|all]
# BASE_IMAGE, NPM_REGISTRY, ASDF_VERSION  build arguments of the Dockerfiles
# EXTRA_CA_FILE       PEM file of an authority between the build and the registries
# DOCKER_BUILD_FLAGS  more flags for `docker build`, such as --network host
# WORKER_IMAGE, SERVER_IMAGE  the names that they get
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

worker=${WORKER_IMAGE:-hodei-jobs-worker:latest}
server=${SERVER_IMAGE:-hodei-jobs-server:latest}

# A build argument has at most 128 KiB.
read_ca() {
  local size
  size=$(wc -c <"$EXTRA_CA_FILE")
  if ((size > 120000)); then
    echo "EXTRA_CA_FILE: $EXTRA_CA_FILE has $size bytes; give the one authority, not a whole bundle" >&2
    return 64
  fi
  cat "$EXTRA_CA_FILE"
}

build() { # KIND NAME
  local kind=$1 name=$2 flags=() variable ca
  for variable in BASE_IMAGE NPM_REGISTRY; do
    [[ -z ${!variable:-} ]] || flags+=(--build-arg "$variable=${!variable}")
  done
  [[ $kind != worker || -z ${ASDF_VERSION:-} ]] || flags+=(--build-arg "ASDF_VERSION=$ASDF_VERSION")
  if [[ -n ${EXTRA_CA_FILE:-} ]]; then
    ca=$(read_ca)
    flags+=(--build-arg "EXTRA_CA=$ca")
  fi
  # Split on purpose: several flags in one variable.
  # shellcheck disable=SC2086
  docker build ${DOCKER_BUILD_FLAGS:-} ${flags[@]+"${flags[@]}"} -f "Dockerfile.$kind" -t "$name" .
  printf '%s: %s MiB\n' "$name" "$(($(docker image inspect -f '{{.Size}}' "$name") / 1048576))"
}

case ${1:-all} in
  worker) build worker "$worker" ;;
  server) build server "$server" ;;
  all)
    build worker "$worker"
    build server "$server"
    ;;
  *)
    echo "scripts/images.sh [worker|server|all]" >&2
    exit 64
    ;;
esac
