"""From a fit to what is asked of it: tests, intervals, predictions, means, comparison, explained variance."""
