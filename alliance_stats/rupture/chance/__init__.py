"""Chance: what a rule finds in simulated studies of the same kind without ruptures, and the size that keeps it rare."""
