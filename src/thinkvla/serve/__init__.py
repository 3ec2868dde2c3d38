"""The policy server for robots: two protocols on one port, guards around every action, and a small client."""
