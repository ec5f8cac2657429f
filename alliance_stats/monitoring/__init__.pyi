from alliance_stats.monitoring.record import alarm_record as alarm_record
from alliance_stats.monitoring.record import alarm_threshold as alarm_threshold
from alliance_stats.monitoring.watch import Monitor as Monitor
