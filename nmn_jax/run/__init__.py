"""What a long run needs: files that are checked, many devices, notice of preemption.

Modules are imported one by one (``from nmn_jax.run import checkpoint``):

    checkpoint   save and restore a state; damage is named, never restored
    fingerprint  what a state is made of, and what differs
    metrics      numbers to the host, into metrics.jsonl, onto the terminal
    rows         what a checkpoint remembers of metrics.jsonl
    parallel     one mesh over all devices of all processes
    preemption   SIGTERM as a flag
    lock         one job in a folder at a time
    place        a folder that can be written into
"""
