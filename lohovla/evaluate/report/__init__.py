"""Reports, tables, plots and videos of evaluations."""
