#!/bin/sh
# Runs the agent. tini passes signals on and reaps what jobs leave behind, as process 1 has to.
# HODEI_MAX_LIFETIME_SECONDS: after this long all of it ends, whatever has become of the server and of the agent itself.
export NODE_COMPILE_CACHE=/usr/local/lib/hodei/cache
set -- node --max-semi-space-size=1 /usr/local/lib/hodei/agent.js "$@"
if [ -n "$HODEI_MAX_LIFETIME_SECONDS" ] && timeout --foreground -k 9 9 true 2>/dev/null; then
  set -- timeout --foreground -k 20 "$HODEI_MAX_LIFETIME_SECONDS" "$@"
fi
exec tini -s -- "$@"
