"""Hazard models on arrays: discrete-time regression, Cox, frailty, a random intercept, Aalen-Johansen.

Arrays in, numbers out; nothing here knows of therapy. Every function states which of the standard choices it makes.
"""
