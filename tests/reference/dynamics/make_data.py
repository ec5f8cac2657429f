"""The data of the lavaan references: two measures with 12 % of sessions missed, holes in one measure, and dropout."""

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
LAGGED = np.array([[0.35, -0.03], [-1.2, 0.4]])
SHOCK = np.array([[0.25, -0.5], [-0.5, 9.0]])
BETWEEN = np.array([[0.4, -0.6], [-0.6, 12.0]])


def simulate(n, waves, seed, *, slopes=False, error=None):
    random = np.random.default_rng(seed)
    levels = random.multivariate_normal([0, 0], BETWEEN, n)
    steps = random.multivariate_normal([0, 0], [[0.02, -0.03], [-0.03, 0.5]], n) * slopes
    w = random.multivariate_normal([0, 0], 1.3 * SHOCK, n)
    rows = []
    for wave in range(waves):
        if wave:
            w = w @ LAGGED.T + random.multivariate_normal([0, 0], SHOCK, n)
        rows.append([5 + 0.08 * wave, 16 - 0.7 * wave] + levels + steps * wave + w)
    y = np.stack(rows, axis=1)
    if error is not None:
        y += random.standard_normal(y.shape) * np.sqrt(error)
    y[random.random((n, waves)) < 0.12] = np.nan
    y[random.random(y.shape) < 0.03] = np.nan
    stays = np.where(random.random(n) < 0.4, random.integers(2, waves + 1, n), waves)
    y[np.arange(waves) >= stays[:, None]] = np.nan
    y = y[~np.isnan(y).all(axis=(1, 2))]
    names = [f"{letter}{wave + 1}" for letter in "as" for wave in range(waves)]
    return pd.DataFrame(np.concatenate([y[:, :, 0], y[:, :, 1]], axis=1), columns=names).round(4)


if __name__ == "__main__":
    simulate(300, 6, 1).to_csv(HERE / "six_waves.csv", index=False)
    simulate(500, 7, 3, slopes=True).to_csv(HERE / "seven_waves_slopes.csv", index=False)
    simulate(500, 8, 4, error=[0.1, 2.5]).to_csv(HERE / "eight_waves_error.csv", index=False)
