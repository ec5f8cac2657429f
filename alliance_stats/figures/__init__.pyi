from alliance_stats.figures.attendance import plot_attendance as plot_attendance
from alliance_stats.figures.courses import plot_distribution as plot_distribution
from alliance_stats.figures.dropout import plot_hazard as plot_hazard
from alliance_stats.figures.dropout import plot_immortal_time as plot_immortal_time
from alliance_stats.figures.dropout import plot_paths as plot_paths
from alliance_stats.figures.flow import plot_flow as plot_flow
from alliance_stats.figures.multiverse import plot_multiverse as plot_multiverse
