"""``docs/results.md``: what the paper, the best public policy and ours reach on each benchmark, written from files.

``published`` holds the figures of others with their sources, ``keep`` makes a small file of a policy's evaluations,
``kept`` reads it, ``verdict`` compares by a rule, and ``page`` writes the page.
"""
