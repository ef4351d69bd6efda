"""Questions asked on a fixed beat from one vantage point each, in processes of their own.

Reading order: `prober` (the program that asks, on the standard library alone), `catalogue` (which questions
there are and whom they are asked), `vantage` (where a prober runs and how it is ended), `watching` (all of
them together, with `clients` of registers and what `keeping` keeps open without a word).
"""
