"""The ground floor: the tables that steps meet in, and small notions that several rooms share, each written once."""
