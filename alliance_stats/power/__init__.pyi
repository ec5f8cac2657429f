from alliance_stats.power.design import Design as Design
from alliance_stats.power.simulated import smallest_study as smallest_study
