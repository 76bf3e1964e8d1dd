"""Runs in a process of its own: `python -P -m llamafactory_lance.helper`, request on stdin.

Lance starts threads and is not fork-safe: of a trainer that had read from it, 28 of 160 runs with forked
data-loader workers crashed, and none of 340 of a trainer that had not. So the trainer never scans: this
process does, and ends.
"""
