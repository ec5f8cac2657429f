"""Linear mixed models: nested and crossed factors, serially correlated residuals, small-sample degrees of freedom.

The model
---------
In the notation of Bates, Maechler, Bolker & Walker (2015, J Stat Softw 67(1)), conditional on the random effects
B = b,

    (Y | B = b) ~ N(X beta + Z b, sigma^2 R),        B ~ N(0, Sigma),        Sigma = sigma^2 Lambda Lambda'.

A formula such as ``y ~ session + (1 + session | patient) + (1 | therapist)`` names the columns of X, and for each
grouping factor the columns of Z and the block of Sigma that all its levels share. Estimates minimise the deviance, -2
times the log-likelihood (ML), or the restricted one (REML, the default), over the variance
parameters; beta and sigma^2 follow in closed form. Criterion, AIC and BIC are on lme4's scale and may be compared
with its output.

What is the same as in lme4
---------------------------
The formula (``||``, ``a/b``, ``a:b``, ``0 +``), listwise deletion, the criterion, conditional modes and their SDs,
Satterthwaite df as lmerTest, Kenward-Roger as pbkrtest. They agree within the tolerances given in the tests.

What differs
------------
* R need not be the identity: ``correlation="ar1"`` (rho to the difference of session numbers, gaps honoured) and
  ``"car1"`` (phi to the difference in continuous time, phi >= 0) within the inner grouping factor, as nlme's
  ``corAR1(form = ~session | patient)`` and ``corCAR1``, but below a second grouping factor as well. Rows may carry
  prior ``weights``, and strata of rows a residual variance each (``variance_by``), as nlme's ``varIdent``.
* At most four grouping factors, nested or crossed (patients who change therapist), with at most four random effects
  each.
* Columns are centred and scaled inside and mapped back exactly, so that a calendar year as time costs nothing;
  nothing of it shows in a result (``diagnostics["centred_scaled"]`` tells what was used).
* The variances are searched for as elements of the covariance matrices by Fisher scoring with exact derivatives, not
  as elements of their Cholesky factor by a derivative-free method. A singular matrix is an answer, reported in
  ``diagnostics["boundary"]``, once u'Gu >= 0 holds for the gradient G and every null vector u of it.
* A rank-deficient X raises (or, with ``drop_aliased=True``, drops and names the term) instead of dropping with a
  message.

How it is computed
------------------
``formula`` and ``columns`` read the formula, ``grouping`` and ``design`` the rows; ``products`` reduces the rows once
to a few numbers per patient, ``pairs`` their neighbours to a few more, from which ``residual`` makes the serial
correlation; ``likelihood`` (with ``nested``, ``crossed``, ``small``) evaluates log|V| and [X y]'V^-1[X y] with
derivatives from those numbers alone; ``model`` makes the deviance of them, ``optimiser`` minimises it,
``satterthwaite`` takes its Hessian. ``engine.fitted`` holds the fitted pieces; every answer (room ``answers``) is a
function of that record, and ``result.MixedFit`` offers the most used ones as methods. A fit of a million sessions
costs a few passes over the rows and some ten evaluations over the patients.
"""

from alliance_stats.lazy import public

__getattr__, __dir__, __all__ = public(__name__)
