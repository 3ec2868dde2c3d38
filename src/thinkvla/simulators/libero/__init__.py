"""LIBERO, from inside its environment: simulator, ground truth, scripted expert, demonstrations."""
