"""`ops/bench-peers`: other queues on the same machine, each in turn with the bare loop of `taskflow bench drain`."""
