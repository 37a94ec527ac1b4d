"""What a long run needs: checkpoints, metrics, many devices, notice of preemption."""
