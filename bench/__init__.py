"""Speed beside sentence-transformers on the machine at hand: `make bench`, or one row with `python -m bench encode`.

Each contestant runs in a process of its own, in the environment where it is at its best; the parent lets them run in
turn, so that a drift of the machine meets all of them. Ratios are taken round by round; their median is reported.
"""
