"""Does a better alliance lower the next symptoms? Three answers, in worlds with and without feedback of symptoms.

Simulates the worlds, fits the models to each study, writes the table and the figure.
"""

from pathlib import Path

from feedback_bias import feedback_bias, summarise_feedback_bias

from alliance_stats.figures.style import save_figure
from alliance_stats.figures.terms import plot_terms

FIGURES = Path(__file__).parents[1] / "figures"
EFFECT, REPETITIONS, SEED = -1.5, 100, 20240611

summary = summarise_feedback_bias(feedback_bias(effect=EFFECT, repetitions=REPETITIONS, seed=SEED))
summary.round(4).to_csv(FIGURES / "feedback_bias.csv", index=False)
LABEL = "Estimated effect of alliance on the next session's symptoms\n(mean and middle 95% of studies; line: truth)"
save_figure(plot_terms(summary, reference=EFFECT, xlabel=LABEL), FIGURES / "feedback_bias")
