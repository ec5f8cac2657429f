"""The sessions that R has seen too: INTERVALS of 300 simulated patients of 15 therapists."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def data():
    data = pd.read_csv(Path(__file__).parents[1] / "reference" / "hazard" / "sessions.csv", keep_default_na=False)
    state = np.where(data["rupture_open"] == 1, "open", np.where(data["repaired_before"] == 1, "repaired", "none"))
    return data.assign(rupture_state=state)
