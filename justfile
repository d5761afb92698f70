# Thin wrappers; everything real is an npm script or a `hodei` verb.

export PATH := justfile_directory() / "node_modules/.bin:" + env("PATH")

_default:
    @just --list

# Format, lint with types and import borders, unit tests: what CI runs first.
check:
    npm run --silent check

# Everything that can run here; HODEI_TEST=redis,docker,kubernetes adds what needs a server.
test:
    npm test

bench *args:
    npm run --silent bench -- {{ args }}

build:
    npm run --silent build

demo:
    npm run --silent demo

# A control plane on this machine.
server *args:
    node bin/hodei.js server {{ args }}

# A first job on a running server.
job-hello:
    node bin/hodei.js run -- echo "Hello from Hodei Jobs"

# Jobs on Kubernetes: a running server with that provider, found by HODEI_SERVER, HODEI_TOKEN and HODEI_CA_CERT_PATH.
# Each recipe ends with the exit code of its job.

hodei := "node " + quote(justfile_directory() / "bin/hodei.js")
k8s := hodei + " run --provider kubernetes --label recipe=k8s --queue-timeout " + env("HODEI_RECIPE_QUEUE_TIMEOUT", "10m")

[group("kubernetes")]
job-k8s-hello:
    @{{ k8s }} --name k8s-hello --cpu 100m --memory 64Mi --timeout 60s -- sh -c 'echo "Hello from Kubernetes provider"; sleep 2; echo "Done"'

[group("kubernetes")]
job-k8s-cpu:
    @{{ k8s }} --name k8s-cpu --cpu 500m --memory 128Mi --timeout 2m -- sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do seq 200000 | sha256sum >/dev/null; echo "round $i of 10: $(cut -d" " -f1-3 /proc/loadavg)"; done'

[group("kubernetes")]
job-k8s-memory:
    @{{ k8s }} --name k8s-memory --cpu 200m --memory 256Mi --timeout 60s -- python3 -c 'rows = [bytes(512) for _ in range(200_000)]; print(f"{len(rows)} rows, {sum(map(len, rows)) >> 20} MiB")'

[group("kubernetes")]
job-k8s-data:
    @{{ k8s }} --name k8s-data --cpu 200m --memory 128Mi --timeout 2m -- python3 -c 'import json, statistics; rows = [json.loads(json.dumps(dict(id=i, value=i * 37 % 101))) for i in range(10_000)]; mean = statistics.mean(row["value"] for row in rows); print(f"{len(rows)} records, mean {mean:.2f}")'

[group("kubernetes")]
job-k8s-ml:
    @{{ k8s }} --name k8s-ml --cpu 500m --memory 256Mi --timeout 3m -- python3 -c '{{ ml }}'

# A line through noisy points, by gradient descent.
ml := '
import random
random.seed(1)
points = [(x / 100, 3 * x / 100 + 1 + random.gauss(0, 0.05)) for x in range(100)]
slope = offset = 0.0
for epoch in range(1, 201):
    errors = [(slope * x + offset - y, x) for x, y in points]
    slope -= 0.5 * sum(e * x for e, x in errors) / len(errors)
    offset -= 0.5 * sum(e for e, x in errors) / len(errors)
    if epoch % 40 == 0:
        print(f"epoch {epoch}: loss {sum(e * e for e, x in errors) / len(errors):.4f}", flush=True)
print(f"y = {slope:.2f} x + {offset:.2f}")
'

[group("kubernetes")]
job-k8s-build:
    @{{ k8s }} --name k8s-build --cpu 500m --memory 256Mi --timeout 5m -- bash -euc 'git init -q app; cd app; echo "stage 1: source"; printf "print(\"built\")\n" >main.py; git add .; git -c user.name=ci -c user.email=ci@example.org commit -qm first; echo "stage 2: compile"; python3 -m compileall -q .; echo "stage 3: test"; test "$(python3 main.py)" = built; echo "stage 4: package"; git archive --format=tar.gz -o ../app.tar.gz HEAD; sha256sum ../app.tar.gz'

# Asks for a real GPU: where there is none, it waits, says so, and ends with 124 after the queue timeout.
[group("kubernetes")]
job-k8s-gpu queue_timeout="60s":
    @{{ k8s }} --name k8s-gpu --cpu 200m --memory 128Mi --gpu 1 --queue-timeout {{ queue_timeout }} --timeout 2m -- nvidia-smi

# All of them in turn; fails if one does, and says which. `gpu` may be added where there are GPUs.
[group("kubernetes")]
job-k8s-all *kinds="hello cpu memory data ml build":
    #!/usr/bin/env bash
    set -uo pipefail
    failed=() code=0
    for kind in {{ kinds }}; do
      echo "== job-k8s-$kind"
      {{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} "job-k8s-$kind"
      ended=$?
      if [[ $ended -ne 0 ]]; then
        failed+=("$kind ($ended)")
        [[ $code -ne 0 ]] || code=$ended
      fi
    done
    if [[ ${#failed[@]} -gt 0 ]]; then
      echo "failed: ${failed[*]}" >&2
    else
      echo "all succeeded: {{ kinds }}"
    fi
    exit "$code"

# One job with its events, or all jobs of these recipes.
[group("kubernetes")]
job-status job="":
    @{{ if job == "" { hodei + " jobs list --label recipe=k8s" } else { hodei + " jobs get " + quote(job) } }}

# A job's log, to its end; of the newest of these jobs unless one is named.
[group("kubernetes")]
job-logs job="":
    #!/usr/bin/env bash
    set -euo pipefail
    job={{ quote(job) }}
    [[ -n $job ]] || job=$({{ hodei }} jobs list --label recipe=k8s --limit 1 | awk 'NR == 2 {print $1}')
    [[ -n $job ]] || { echo "there is no such job" >&2; exit 1; }
    exec {{ hodei }} logs -f "$job"

# Cancels every job of these recipes that is not over.
[group("kubernetes")]
job-cleanup:
    #!/usr/bin/env bash
    set -euo pipefail
    jobs=$({{ hodei }} jobs list --label recipe=k8s --state queued,starting,running,cancelling --limit 500 | awk 'NR > 1 {print $1}')
    [[ -n $jobs ]] || { echo "nothing to cancel"; exit 0; }
    # shellcheck disable=SC2086
    {{ hodei }} jobs cancel --reason "just job-cleanup" $jobs

worker_image := env("WORKER_IMAGE", "hodei-jobs-worker:latest")
server_image := env("SERVER_IMAGE", "hodei-jobs-server:latest")

# Builds an image and prints its size: worker, server or all. BASE_IMAGE, NPM_REGISTRY, EXTRA_CA_FILE and ASDF_VERSION change how.
[group("images")]
image kind="all":
    WORKER_IMAGE={{ quote(worker_image) }} SERVER_IMAGE={{ quote(server_image) }} scripts/images.sh {{ quote(kind) }}

# Gives both images the names that they have in a registry: registry.example.org/team
[group("images")]
image-tag registry:
    docker tag {{ quote(worker_image) }} {{ quote(registry + "/" + file_name(worker_image)) }}
    docker tag {{ quote(server_image) }} {{ quote(registry + "/" + file_name(server_image)) }}

[group("images")]
image-push registry: (image-tag registry)
    docker push {{ quote(registry + "/" + file_name(worker_image)) }}
    docker push {{ quote(registry + "/" + file_name(server_image)) }}

# Both images for two kinds of machines, pushed at once.
[group("images")]
image-push-multi registry platforms="linux/amd64,linux/arm64":
    docker buildx build --platform {{ quote(platforms) }} -f Dockerfile.worker -t {{ quote(registry + "/" + file_name(worker_image)) }} --push .
    docker buildx build --platform {{ quote(platforms) }} -f Dockerfile.server -t {{ quote(registry + "/" + file_name(server_image)) }} --push .

[group("images")]
image-load-kind cluster="kind":
    kind load docker-image --name {{ quote(cluster) }} {{ quote(worker_image) }} {{ quote(server_image) }}

[group("images")]
image-load-k3d cluster="k3s-default":
    k3d image import --cluster {{ quote(cluster) }} {{ quote(worker_image) }} {{ quote(server_image) }}

# A server on this machine that starts its workers in the cluster of the current context; `address` is how pods reach this machine.
[group("kubernetes")]
dev address=env("HODEI_DEV_ADDRESS", ""):
    #!/usr/bin/env bash
    set -euo pipefail
    host={{ quote(address) }}
    [[ -n $host ]] || host=$(hostname -I | awk '{print $1}')
    mkdir -p hodei-data && chmod 700 hodei-data
    [[ -s hodei-data/admin-token ]] || (umask 077 && head -c 32 /dev/urandom | base64 | tr -d '\n=' >hodei-data/admin-token)
    printf '%s\n' "In other shells:" "  export HODEI_TOKEN_FILE=$PWD/hodei-data/admin-token HODEI_CA_CERT_PATH=$PWD/hodei-data/tls/ca.crt" "  just job-k8s-hello" >&2
    # Policies let workers out to the server's own address only.
    export HODEI_K8S_ENABLED=1 HODEI_PROCESS_ENABLED=0 HODEI_TLS_AUTO=1 HODEI_LISTEN_ADDRESS=0.0.0.0:50051
    export HODEI_SERVER_ADDRESS=$host:50051 HODEI_ADMIN_TOKEN_FILE=hodei-data/admin-token
    export HODEI_K8S_SERVER_CIDRS=${HODEI_K8S_SERVER_CIDRS:-$host/32}
    exec {{ hodei }} server

# Both images, brought to where the cluster finds them if that is kind or k3d, and everything installed.
[group("kubernetes")]
k8s-setup *args: image
    #!/usr/bin/env bash
    set -euo pipefail
    case $(kubectl config current-context) in
      kind-*) {{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} image-load-kind "$(kubectl config current-context | cut -c6-)" ;;
      k3d-*) {{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} image-load-k3d "$(kubectl config current-context | cut -c5-)" ;;
      *) echo "the nodes must have or find {{ worker_image }} and {{ server_image }}: just image-push REGISTRY" >&2 ;;
    esac
    deploy/kubernetes/install.sh --worker-image {{ quote(worker_image) }} --server-image {{ quote(server_image) }} {{ args }}

# Removes all of it again, the server's data included.
[group("kubernetes")]
k8s-clean *args:
    deploy/kubernetes/install.sh --uninstall {{ args }}

# ---- Docker: jobs on a running server with that provider, found as those above find theirs. ----

docker := hodei + " run --provider docker --label recipe=docker --queue-timeout " + env("HODEI_RECIPE_QUEUE_TIMEOUT", "10m")

[group("docker")]
job-docker-hello:
    @{{ docker }} --name docker-hello --cpu 100m --memory 64Mi --timeout 60s -- sh -c 'echo "Hello from Docker provider"; sleep 2; echo "Done"'

[group("docker")]
job-docker-cpu:
    @{{ docker }} --name docker-cpu --cpu 500m --memory 128Mi --timeout 2m -- sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do seq 200000 | sha256sum >/dev/null; echo "round $i of 10: $(cut -d" " -f1-3 /proc/loadavg)"; done'

[group("docker")]
job-docker-memory:
    @{{ docker }} --name docker-memory --cpu 200m --memory 256Mi --timeout 60s -- python3 -c 'rows = [bytes(512) for _ in range(200_000)]; print(f"{len(rows)} rows, {sum(map(len, rows)) >> 20} MiB")'

[group("docker")]
job-docker-data:
    @{{ docker }} --name docker-data --cpu 200m --memory 128Mi --timeout 2m -- python3 -c 'import json, statistics; rows = [json.loads(json.dumps(dict(id=i, value=i * 37 % 101))) for i in range(10_000)]; mean = statistics.mean(row["value"] for row in rows); print(f"{len(rows)} records, mean {mean:.2f}")'

[group("docker")]
job-docker-ml:
    @{{ docker }} --name docker-ml --cpu 500m --memory 256Mi --timeout 3m -- python3 -c '{{ ml }}'

[group("docker")]
job-docker-build:
    @{{ docker }} --name docker-build --cpu 500m --memory 256Mi --timeout 5m -- bash -euc 'git init -q app; cd app; echo "stage 1: source"; printf "print(\"built\")\n" >main.py; git add .; git -c user.name=ci -c user.email=ci@example.org commit -qm first; echo "stage 2: compile"; python3 -m compileall -q .; echo "stage 3: test"; test "$(python3 main.py)" = built; echo "stage 4: package"; git archive --format=tar.gz -o ../app.tar.gz HEAD; sha256sum ../app.tar.gz'

# All of them in turn; fails if one does, and says which.
[group("docker")]
job-docker-all *kinds="hello cpu memory data ml build":
    #!/usr/bin/env bash
    set -uo pipefail
    failed=() code=0
    for kind in {{ kinds }}; do
      echo "== job-docker-$kind"
      {{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} "job-docker-$kind"
      ended=$?
      if [[ $ended -ne 0 ]]; then
        failed+=("$kind ($ended)")
        [[ $code -ne 0 ]] || code=$ended
      fi
    done
    [[ ${#failed[@]} -eq 0 ]] || echo "failed: ${failed[*]}" >&2
    exit "$code"

# A server on this machine that starts its workers in its Docker Engine, from the image that `just image worker` builds.
[group("docker")]
dev-docker:
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p hodei-data && chmod 700 hodei-data
    [[ -s hodei-data/admin-token ]] || (umask 077 && head -c 32 /dev/urandom | base64 | tr -d '\n=' >hodei-data/admin-token)
    printf '%s\n' "In other shells:" "  export HODEI_TOKEN_FILE=$PWD/hodei-data/admin-token HODEI_CA_CERT_PATH=$PWD/hodei-data/tls/ca.crt" "  just job-docker-hello" >&2
    # Containers know this machine by that name.
    export HODEI_DOCKER_ENABLED=1 HODEI_PROCESS_ENABLED=0 HODEI_TLS_AUTO=1 HODEI_TLS_AUTO_NAMES=${HODEI_TLS_AUTO_NAMES:-host.docker.internal}
    export HODEI_LISTEN_ADDRESS=0.0.0.0:50051 HODEI_ADMIN_TOKEN_FILE=hodei-data/admin-token HODEI_WORKER_IMAGE={{ quote(worker_image) }}
    exec {{ hodei }} server

# A Docker Engine on this machine where none answers, and a base image that needs no registry; as root.
[group("docker")]
docker-base:
    scripts/docker-base.sh

# ---- Docker Compose: two servers over one Redis, see deploy/compose. ----

compose := "docker compose -f " + quote(justfile_directory() / "deploy/compose/compose.yaml")

# Builds the images, makes secrets where there are none, and waits until both servers are ready.
[group("compose")]
compose-up *args: image
    deploy/compose/prepare.sh
    WORKER_IMAGE={{ quote(worker_image) }} SERVER_IMAGE={{ quote(server_image) }} {{ compose }} up -d --no-build --wait {{ args }}

# What clients need, as shell commands: eval "$(just compose-env)"
[group("compose")]
compose-env:
    #!/usr/bin/env bash
    set -euo pipefail
    ca=$PWD/deploy/compose/.ca.crt
    # The servers share one authority; either may be away.
    for server in server-1 server-2; do
      if {{ compose }} exec -T "$server" cat /var/lib/hodei/tls/ca.crt >"$ca"; then break; fi
    done
    [[ -s $ca ]] || { echo "no server is up: just compose-up" >&2; exit 1; }
    echo "export HODEI_SERVER=localhost:50051,localhost:50052 HODEI_CA_CERT_PATH=$ca"
    sed -n 's/^HODEI_ADMIN_TOKEN=/export HODEI_TOKEN=/p' deploy/compose/.env

# Stops everything; -v deletes the data too.
[group("compose")]
compose-down *args:
    {{ compose }} --profile s3 down {{ args }}
