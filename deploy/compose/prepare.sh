#!/usr/bin/env bash
# Writes .env with secrets of this machine's own beside compose.yaml. What is there stays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
umask 077
socket=${DOCKER_SOCKET:-/var/run/docker.sock}

random() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }

keep() { # NAME VALUE
  grep -q "^$1=" .env 2>/dev/null || printf '%s=%s\n' "$1" "$2" >>.env
}

[[ -S $socket ]] || {
  echo "prepare.sh: no Docker Engine at $socket; DOCKER_SOCKET names another" >&2
  exit 69
}
keep HODEI_ADMIN_TOKEN "$(random | tr '+/' '-_' | tr -d '=')"
keep HODEI_ENCRYPTION_KEY "$(random)"
keep HODEI_S3_SECRET_ACCESS_KEY "$(random | tr -d '+/=')"
# Where the engine runs in a machine of its own, its socket has another group inside of containers: give DOCKER_GID there.
keep DOCKER_GID "${DOCKER_GID:-$(stat -c %g "$socket" 2>/dev/null || echo 0)}"
keep DOCKER_SOCKET "$socket"
