"""What a sceptic would try: hostile files, killed trainings, killed folders, and numbers that are none.

    python -m tests.campaign                          # all of it; writes benchmarks/results/campaign.json
    python -m tests.campaign files --only pickles     # some of it, and what became of each case

    child.py      a call in a forked child: what it said, cost and did
    inputs.py     the hostile inputs, each with what is called with it
    files.py      nothing crashes, hangs, grows, is executed, or writes where it must not
    training.py   killed, out of disk or memory, moved, damaged: the same weights in the end
    folders.py    `derain folder` killed and started again
    numbers.py    NaN, infinity, flat and odd images, in every network, precision and layout
    notebooks.py  notebooks offline, read-only, in odd folders, languages and orders; and what is uploaded to them
    kernel.py     what a notebook's kernel sees of itself
    report.py     the figures by class

The short form is `tests/test_campaign.py`. It needs Linux, whose processes it forks, limits and listens to.
"""
