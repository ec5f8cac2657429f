"""Rules: a session is compared with a reference level; a fall opens a rupture, a return to the baseline repairs it."""
