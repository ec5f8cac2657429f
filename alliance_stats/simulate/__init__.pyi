from alliance_stats.simulate.codes import Coding as Coding
from alliance_stats.simulate.study import Study as Study
from alliance_stats.simulate.study import Truth as Truth
