"""The oracle of a refactoring: record what users of the project meet, and compare two recordings.

    python -m tests.support.oracle record --project CHECKOUT --to FOLDER [--only NAME ...]
    python -m tests.support.oracle compare FOLDER FOLDER [--only NAME ...]

`record` goes through what users use: the commands, train.py, app.py and the names of
`import dermhub`. Each part becomes FOLDER/NAME.json: "found" is compared to the byte, "notes" may
differ and are only shown, "seconds" and "slowest" tell how long it took. `compare` prints "same" or
a diff for each part, and its exit code is 1 when anything differs. Floats are written by `repr`, so
that equal means equal to the bit. Two recordings can be compared when one machine made them, with
one set of libraries.

How to use it: record the commit before a large change into a folder outside of the checkout, and
again after each step. All ten parts take a quarter of an hour on two cores. pytest does not run
them.

It imports nothing of the project itself, because it must not change with what it watches: what it
needs of a checkout, `probes` asks in a Python of its own. Recording writes nothing into the
checkout but Python's own caches. Where an inner module must be used, its old name is tried first
and then the new one (`probes.PLACES`), so that one oracle serves both sides of a move.
"""
