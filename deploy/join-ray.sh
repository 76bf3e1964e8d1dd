#!/bin/sh
# Run a command that drives the Ray cluster at $RAY_ADDRESS from a container of its own.
#
# A Ray driver talks to a Ray node on its own machine. So this container becomes a node, one without
# CPUs: no actor is placed here. (Ray Client, `ray://`, needs no node here, but it gives up a driver
# whose connection is lost for half a minute, and the actors with it.)
set -eu

: "${RAY_ADDRESS:?the address of the cluster, for example ray-head:6379}"
ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 \
    --object-store-memory="${OBJECT_STORE_BYTES:-134217728}" --disable-usage-stats
RAY_ADDRESS=auto exec "$@"
