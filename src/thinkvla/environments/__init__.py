"""Isolated virtual environments of simulators, each with pins of its own: made from a lock file, found, checked."""
