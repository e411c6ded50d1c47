"""How good a version is: data sets, metrics, comparisons, reports, and gates before a promotion.

For the command line only; ships to no function. scikit-learn, scipy and matplotlib come with the
extra ``evaluate`` and are imported where they are used, so that everything else does without.
"""
