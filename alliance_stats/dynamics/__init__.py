"""Several measures that move each other over time, within series, by exact maximum likelihood.

The model of series i at time t, with k measures (Hamaker, Kuiper & Grasman, 2015; Curran et al., 2014):

    y = X beta + b + s t + w + u,   w(t) = Phi w(t-1) + Gamma z(t-1) + e,   e ~ N(0, Psi),   u ~ N(0, diag(error)),

with levels b and slopes s that a series draws once. ``panels`` sorts series by their patterns of observation,
``parameters`` makes the state-space form, ``filtering`` computes innovations and scores (Durbin & Koopman, 2012),
``likelihood`` profiles beta out, ``starting`` and ``optimiser`` find the maximum, ``units`` scales, ``fitting`` is the
door, ``answers`` has what a fit says besides. Arrays in, a fit out; nothing here knows of therapy.
"""
