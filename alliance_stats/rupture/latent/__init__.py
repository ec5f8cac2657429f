"""The latent detector: the probability that a rupture is open, from a model of the scores.

Imports nothing of rules or chance.
"""
