"""A client behind a bad network, for minutes: what it says it has taken must arrive, as often as promised, in order.

    make chaos                                     # ten minutes, our broker and mosquitto at the same time
    make chaos SECONDS=60 SEED=7 BROKER=ours

`link` is the bad network, `tape` its record, `roamer` the program behind it, `stage` puts them before a broker with a
witness at its side, and `books` has the last word.
"""
