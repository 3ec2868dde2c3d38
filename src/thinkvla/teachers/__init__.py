"""3D foundation models behind one protocol: geometry targets for training, never needed at deployment."""
