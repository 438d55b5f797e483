"""Data: pairs of rainy and clean photographs, from folders that people have or made on the spot.

- `pairs`: folders in the layouts of the public sets, read as `Pair`s; `layouts` finds and recognises them
- `catalogue`: the public sets, where they are, what they must contain, the traps in them
- `audit`: mismatched pairs, duplicates, photographs that two sets share
- `check`: what is wrong with a folder before anything trains on it
- `samples`: the pictures that come with the repository, scikit-image's photographs, drawn streets
- `synthetic`: rain on clean photographs, drawn when it is needed
- `scenes`: streets with a class for every pixel, their rain, and how training varies them
- `export`: such streets written as files, in the rain or derained
- `holdout`: the fixed test images that every network is scored on; `validation`: what judges while a network trains
- `seeds`: those that no training draws with
"""
