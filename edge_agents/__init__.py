"""One process beside the machines: driver, sampler, outbox, uplink, from left to right.

Here lives what reads machines, judges their state and hands every sample, durably, to the wire.
Nothing here ever writes to a machine. This room imports `gateway` only.
"""
