"""Simulators with pins of their own: code that runs inside their isolated environments."""
