#!/bin/sh
# Runs the agent. tini passes signals on and reaps what jobs leave behind, as process 1 has to.
exec tini -s -- node --max-semi-space-size=1 /usr/local/lib/hodei/agent.js "$@"
