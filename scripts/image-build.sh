#!/bin/sh
# Runs inside of an image build: makes dist/ with the node_modules of the build context where they fit this machine, else with those of the lockfile.
set -eu
npm_version=11.21.2
npm_integrity=sha512-7HPApk+AflMUavSseL1Pm6CnYqMIHk53x+KmuhqmTDqPkjPMgxIpTPcTqsE91EKNw4gFBJV9fnXiSdGm1DXq9A==

fits() { # the bundler runs, and nothing of the lockfile is missing
  node -e 'await (await import("esbuild")).transform("");' 2>/dev/null && node scripts/image-modules.ts --check
}

install() {
  rm -rf node_modules
  if ! command -v npm >/dev/null; then
    curl -fsSL --retry 3 -o /tmp/npm.tgz "${NPM_REGISTRY%/}/npm/-/npm-$npm_version.tgz"
    found=sha512-$(openssl dgst -sha512 -binary /tmp/npm.tgz | base64 -w0)
    [ "$found" = "$npm_integrity" ] || { echo "npm@$npm_version is not what it was: $found" >&2; exit 1; }
    mkdir -p /tmp/npm && tar -xzf /tmp/npm.tgz -C /tmp/npm
    npm() { node /tmp/npm/package/bin/npm-cli.js "$@"; }
  fi
  npm ci --ignore-scripts --no-fund --no-audit --registry "$NPM_REGISTRY"
}

fits || install
node scripts/build.ts --no-types
