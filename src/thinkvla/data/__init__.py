"""Robot episodes (LeRobot v3.0), spatial and general questions, their statistics, checks and generation.

Import from the modules, not from here: reading data needs pyarrow and PyAV (the ``data`` extra), serving a
policy does not.
"""
