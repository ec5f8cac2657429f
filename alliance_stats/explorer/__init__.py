"""A page on which a rule is tried out: choose, look at the patients, count against chance, copy the result.

It needs Panel: ``pip install "alliance_stats[explore]"``.
"""
