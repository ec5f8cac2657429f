from alliance_stats.power.design import Design as Design
from alliance_stats.power.parts import merge_parts as merge_parts
from alliance_stats.power.parts import write_part as write_part
from alliance_stats.power.smallest import smallest_study as smallest_study
