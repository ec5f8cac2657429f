"""From arrays to estimates: the likelihood, its derivatives, the optimiser, Satterthwaite's degrees of freedom."""
