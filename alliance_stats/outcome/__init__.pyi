from alliance_stats.outcome.growth import GrowthFit as GrowthFit
from alliance_stats.outcome.meta import meta_row as meta_row
from alliance_stats.outcome.next_session_fit import NextSessionFit as NextSessionFit
from alliance_stats.outcome.patterns_fit import PUBLISHED as PUBLISHED
from alliance_stats.outcome.patterns_fit import OutcomeFit as OutcomeFit
from alliance_stats.outcome.reciprocal_fit import DynamicsFit as DynamicsFit
