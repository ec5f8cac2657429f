"""Hazard models on arrays: discrete-time regression, Cox, frailty, a random intercept, Aalen-Johansen.

They take arrays and return numbers, and know nothing of therapy. Every function says which of the standard choices it
makes.
"""
