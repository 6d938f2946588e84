"""Engines and submissions scored as the challenge does, over data sets.

In: a data set in the challenge's layout, engines by name. Out: scores, tables, a figure.
Entered by `datasets.evaluate_dataset`.
"""
