"""Description: prevalence, patients' patterns, courses around an onset, agreement of raters, coders and detectors."""
