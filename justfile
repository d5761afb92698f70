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
