"""Measuring a policy: vla-eval's protocol on both sides, simulators in parallel, intervals and a report."""
