from alliance_stats.simulate.study import Study as Study
from alliance_stats.simulate.study import Truth as Truth
