#!/usr/bin/env bash
# Installs Hodei Jobs into the cluster of the current context. Running it again changes nothing.
set -euo pipefail

usage() {
  cat <<'TEXT'
install.sh [options]           installs; a second time it changes nothing
install.sh --uninstall         removes everything again, the data of the server included

  --profile standard|legacy    names of today (hodei-jobs-workers) or of the first deployments (hodei-workers)
  --context NAME               of the kubeconfig; the current one unless given
  --server-image NAME          default hodei-jobs-server:latest
  --worker-image NAME          default as the profile has it
  --store embedded|redis       one server with a volume, or several over the Redis at HODEI_REDIS_URL
  --replicas COUNT             servers over Redis; default 2
  --without-server             namespaces, rights, policies and settings alone: the server runs elsewhere
  --keep-data                  with --uninstall: leaves the server's namespace with its volume and its token
  --no-wait                    does not wait for the server
  --dry-run                    says what would be done
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
profile=standard context='' server_image='' worker_image='' action=install
with_server=1 keep_data='' wait=1 dry_run='' store=embedded replicas=''
system=hodei-system
secret=hodei-admin-token

say() { printf 'install.sh: %s\n' "$*"; }
die() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}
value() { [[ $# -ge 2 && -n $2 ]] || die "$1 needs a value (--help shows the options)"; }

while [[ $# -gt 0 ]]; do
  case $1 in
    --profile) value "$@" && profile=$2 && shift ;;
    --context) value "$@" && context=$2 && shift ;;
    --server-image) value "$@" && server_image=$2 && shift ;;
    --worker-image) value "$@" && worker_image=$2 && shift ;;
    --store) value "$@" && store=$2 && shift ;;
    --replicas) value "$@" && replicas=$2 && shift ;;
    --without-server) with_server='' ;;
    --keep-data) keep_data=1 ;;
    --no-wait) wait='' ;;
    --dry-run) dry_run=1 ;;
    --uninstall) action=uninstall ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) die "unknown option $1 (--help shows the options)" ;;
  esac
  shift
done

case $profile in
  standard) files=$here workers=hodei-jobs-workers image=hodei-jobs-worker:latest ;;
  legacy) files=$here/legacy workers=hodei-workers image=hodei-worker:latest ;;
  *) die "--profile: $profile is neither standard nor legacy" ;;
esac

case $store in
  embedded) [[ -z $replicas ]] || die "--replicas needs --store redis: one server uses a volume" ;;
  redis) [[ ${replicas:=2} =~ ^[1-9][0-9]?$ ]] || die "--replicas: $replicas is not between 1 and 99" ;;
  *) die "--store: $store is neither embedded nor redis" ;;
esac

kube() { kubectl ${context:+--context "$context"} "$@"; }

check_cluster() {
  command -v kubectl >/dev/null || die "kubectl is not installed, or not on the PATH: https://kubernetes.io/docs/tasks/tools/"
  local name problem
  name=${context:-$(kubectl config current-context 2>/dev/null || echo '(none: kubectl decides)')}
  say "context $name"
  problem=$(kube get --raw /version --request-timeout=10s 2>&1 >/dev/null) ||
    die "the cluster does not answer: ${problem##*$'\n'}"
}

printed() { # FILE: with the images and the number of servers that were asked for
  local file=$files/$1.yaml
  [[ $store != redis || ! -f $files/redis/$1.yaml ]] || file=$files/redis/$1.yaml
  sed -e "s|^\( *image: \)hodei-jobs-server:latest\$|\1${server_image:-hodei-jobs-server:latest}|" \
    -e "s|^\( *HODEI_WORKER_IMAGE: \)$image\$|\1${worker_image:-$image}|" \
    -e "s|^\(  replicas: \)2\$|\1${replicas:-2}|" "$file"
}

apply() { # FILE
  if [[ -n $dry_run ]]; then
    say "would apply $1.yaml:"
    printed "$1" | kube apply --dry-run=client -f - | sed 's/^/  /'
  else
    say "applying $1.yaml"
    printed "$1" | kube apply -f - | sed 's/^/  /'
  fi
}

has_secret() { kube -n "$system" get secret "$1" >/dev/null 2>&1; }

make_secret() { # NAME KEY WHAT COMMAND...: what the command prints, unless the secret is there
  local name=$1 key=$2 what=$3
  shift 3
  if has_secret "$name"; then
    say "$what is there already (secret $name)"
  elif [[ -n $dry_run ]]; then
    say "would make $what (secret $name)"
  else
    say "making $what (secret $name)"
    # By pipe: an argument could be read by others on this machine.
    "$@" | kube -n "$system" create secret generic "$name" --from-file="$key"=/dev/stdin | sed 's/^/  /'
  fi
}

random_token() { head -c 32 /dev/urandom | base64 | tr -d '\n=' | tr '+/' '-_'; }
random_key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }
redis_url() { printf %s "$HODEI_REDIS_URL"; }

check_redis() {
  [[ $store != redis || -n ${HODEI_REDIS_URL:-} ]] || has_secret hodei-redis ||
    die "--store redis: give its address as pods reach it in HODEI_REDIS_URL, or in the secret hodei-redis of $system under the key url"
}

make_secrets() {
  make_secret "$secret" token "the admin token" random_token
  [[ $store == redis ]] || return 0
  make_secret hodei-redis url "the address of Redis" redis_url
  make_secret hodei-encryption-key key "the key for stored credentials" random_key
}

has_monitoring() {
  [[ -n $(kube api-resources --api-group=monitoring.coreos.com -o name 2>/dev/null) ]]
}

install() {
  check_cluster
  [[ -z $with_server ]] || check_redis
  local group
  for group in namespace rbac network-policy configmap; do apply "$group"; done
  if [[ -n $with_server ]]; then
    make_secrets
    apply server
    if has_monitoring; then apply monitoring; else say "no Prometheus operator here: monitoring.yaml is left out"; fi
  fi
  [[ -n $dry_run ]] && return
  if [[ -n $with_server && -n $wait ]]; then
    say "waiting for the server"
    kube -n "$system" rollout status deployment/hodei-server --timeout=180s ||
      die "the server does not become ready: kubectl -n $system describe pod -l app.kubernetes.io/component=server"
  fi
  finish
}

finish() {
  say "installed: server namespace $system, worker namespace $workers"
  if [[ -z $with_server ]]; then
    cat <<TEXT
Start the server with
  HODEI_K8S_ENABLED=1 HODEI_K8S_NAMES_PROFILE=$profile HODEI_K8S_NAMESPACE=$workers
and HODEI_SERVER_ADDRESS=host:port as pods can dial it.
TEXT
    return
  fi
  cat <<TEXT
From this machine:
  kubectl -n $system port-forward service/hodei-server 50051 &
  kubectl -n $system exec deployment/hodei-server -- cat /var/lib/hodei/tls/ca.crt > hodei-ca.crt
  export HODEI_CA_CERT_PATH=\$PWD/hodei-ca.crt
  export HODEI_TOKEN=\$(kubectl -n $system get secret $secret -o jsonpath='{.data.token}' | base64 -d)
  hodei run --provider kubernetes -- echo "Hello from Kubernetes"
TEXT
}

remove() { # KUBECTL ARGUMENTS
  if [[ -n $dry_run ]]; then
    say "would delete $*"
  else
    say "deleting $*"
    kube delete --ignore-not-found "$@" | sed 's/^/  /'
  fi
}

uninstall() {
  check_cluster
  # The server first, so that nothing makes new pods.
  remove -n "$system" deployment/hodei-server
  remove namespace -l hodei.io/tenant-namespace=true,hodei.io/managed=true
  if [[ $(kube get namespace "$workers" -o 'jsonpath={.metadata.labels.hodei\.io/managed}' 2>/dev/null) == true ]]; then
    remove namespace "$workers"
  else
    say "namespace $workers is not there, or not ours: left as it is"
  fi
  remove clusterrolebinding,clusterrole -l app.kubernetes.io/part-of=hodei-jobs
  if kube api-resources --api-group=admissionregistration.k8s.io -o name 2>/dev/null | grep -q '^validatingadmissionpolicies'; then
    remove validatingadmissionpolicybinding,validatingadmissionpolicy -l app.kubernetes.io/part-of=hodei-jobs
  fi
  if [[ -n $keep_data ]]; then
    remove -n "$system" service,poddisruptionbudget,networkpolicy,configmap,serviceaccount -l app.kubernetes.io/part-of=hodei-jobs
    say "kept: namespace $system with its volume and its token"
  else
    remove namespace "$system"
  fi
  [[ -n $dry_run ]] || say "removed"
}

"$action"
