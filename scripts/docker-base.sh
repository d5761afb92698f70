#!/usr/bin/env bash
# Makes a Docker Engine answer on this machine, and gives it a base image without asking a registry: for tests, and for `docker build` where no
# registry is reached. What is there already is taken as it is; whatever has to be installed or started needs root on Debian or Ubuntu.
#   BASE_IMAGE  the name of the base image (localhost/debian:bookworm-slim)
#   SUITE       the Debian release that it holds (bookworm)
#   MIRROR      where debootstrap finds it (that of apt, else deb.debian.org)
set -euo pipefail

image=${BASE_IMAGE:-localhost/debian:bookworm-slim}
suite=${SUITE:-bookworm}
log=${DOCKERD_LOG:-/var/log/hodei-dockerd.log}

need() { # PROGRAM PACKAGE
  command -v "$1" >/dev/null && return
  [[ $(id -u) = 0 ]] && command -v apt-get >/dev/null || { echo "$1 is missing; install $2" >&2; exit 69; }
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

answers() { docker version >/dev/null 2>&1; }

start() { # Outlives this script.
  [[ $(id -u) = 0 ]] || { echo "no Docker Engine answers, and only root can start one" >&2; exit 69; }
  need dockerd docker.io
  need iptables iptables
  setsid dockerd </dev/null >>"$log" 2>&1 &
  for _ in $(seq 150); do
    answers && return
    sleep 0.2
  done
  echo "dockerd does not answer; the end of $log:" >&2
  tail -n 20 "$log" >&2
  exit 69
}

mirror() {
  local found
  found=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\(http[^ ]*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null | head -n 1)
  [[ -n $found ]] || found=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
  echo "${found:-http://deb.debian.org/debian}"
}

base() {
  local root
  need debootstrap debootstrap
  root=$(mktemp -d)
  trap "rm -rf '$root' '$root.log'" EXIT
  # A minbase has apt, so that images can be built on it; its own caches are not needed.
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "${MIRROR:-$(mirror)}" >"$root.log" || {
    tail -n 5 "$root.log" >&2
    exit 69
  }
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
  tar -C "$root" -c . | docker import \
    -c 'CMD ["bash"]' -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$image" >/dev/null
}

need docker docker.io
answers || start
docker image inspect "$image" >/dev/null 2>&1 || base
