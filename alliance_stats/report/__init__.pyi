from alliance_stats.report.study import StudyError as StudyError
from alliance_stats.report.writing import Written as Written
from alliance_stats.report.writing import check_study as check_study
from alliance_stats.report.writing import demo_study as demo_study
from alliance_stats.report.writing import detect_study as detect_study
from alliance_stats.report.writing import score_study as score_study
from alliance_stats.report.writing import write_report as write_report
from alliance_stats.report.writing import write_table as write_table
