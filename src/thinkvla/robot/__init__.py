"""Policies on robots: acting under delay, the control loop and its safety, and the robots it drives."""
