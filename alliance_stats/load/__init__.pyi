from alliance_stats.load.codebook import describe_study as describe_study
from alliance_stats.load.codebook import missing_patterns as missing_patterns
from alliance_stats.load.codes import check_codes as check_codes
from alliance_stats.load.codes import read_codes as read_codes
from alliance_stats.load.merging import unmatched_ratings as unmatched_ratings
from alliance_stats.load.patients import join_patients as join_patients
from alliance_stats.load.privacy import pseudonymise as pseudonymise
from alliance_stats.load.redcap import read_redcap as read_redcap
