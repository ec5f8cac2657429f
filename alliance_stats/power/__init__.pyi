from alliance_stats.power.design import Design as Design
from alliance_stats.power.smallest import smallest_study as smallest_study
