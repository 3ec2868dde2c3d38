"""Co-training: configuration, data streams, the loop and its checkpoints. Not needed at deployment."""
