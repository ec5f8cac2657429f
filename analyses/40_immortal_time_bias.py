"""How wrong "ever repaired" against dropout is, in a world in which repair has no effect.

Simulates it, fits the fixed groups and the lagged state, writes both tables and the figure.
"""

from pathlib import Path

from alliance_stats.dropout.bias import immortal_time_bias
from alliance_stats.figures.dropout import plot_immortal_time
from alliance_stats.figures.style import save_figure

FIGURES = Path(__file__).parents[1] / "figures"
N_PATIENTS, REPETITIONS, SEED = 400, 200, 20240511

bias = immortal_time_bias(n_patients=N_PATIENTS, repetitions=REPETITIONS, seed=SEED)
bias.summary.round(4).to_csv(FIGURES / "immortal_time_bias.csv", index=False)
save_figure(plot_immortal_time(bias.estimates, bias.curves), FIGURES / "immortal_time_bias")
