"""Simulators that others publish: each room is code for one environment of its own, beside it in ``environments``."""
