"""From a formula and a table to arrays: the columns of X and Z, grouping factors, scaling."""
