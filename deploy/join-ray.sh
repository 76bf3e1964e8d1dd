#!/bin/bash
# Run a command that drives the Ray cluster at $RAY_ADDRESS from a container of its own.
#
# A Ray driver talks to a Ray node on its own machine. So this container becomes a node, one without
# CPUs: no actor is placed here. (Ray Client, `ray://`, needs no node here, but it gives up a driver
# whose connection is lost for half a minute, and the actors with it.)
set -euo pipefail

: "${RAY_ADDRESS:?the address of the cluster, for example ray-head:6379}"
ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 \
    --object-store-memory="${OBJECT_STORE_BYTES:-134217728}" --disable-usage-stats --block &
node=$!
# Ray waits for the node of this machine to come up.
"$@" &
command=$!

stopping=
trap 'stopping=yes; kill -TERM "$command"' TERM INT
status=0
wait -n "$node" "$command" || status=$?
if [ "$stopping" ]; then
    status=0
    wait "$command" || status=$?
elif kill -0 "$command" 2>/dev/null; then
    # When the head starts again, Ray's nodes of its former life end, and a driver waits for ever.
    echo "join-ray: the Ray node has ended; so does $1" >&2
    kill -KILL "$command"
    status=1
fi
exit "$status"
