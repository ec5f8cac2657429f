"""Several measures that move each other over time, within series."""
