"""What the notebooks share: figures, live widgets, exercises, and the program that publishes a notebook.

    figures     pictures with one look, small enough to be stored
    widgets     live demonstrations that leave a picture on a page without a kernel
    curtain     two versions of a photograph, and a line between them to drag
    zoom        versions side by side, enlarged and moved together
    greeting    how a page learns whether it is answered while a cell runs
    pieces      a file of the reader's own, of any size
    exercises   questions that check an answer, give hints, show a solution
    miniature   scenes in drawn rain, and small networks that train on them while a reader waits
    probe       what a loss says of a picture that was spoilt on purpose: value, map, gradient
    distortions eight ways to spoil one, all losses that judge them, and what their weights mean
    contest     a loss put to work: on pixels, and on small networks side by side
    panel       the one panel for trainings: start, stop, seed, previews, runs over one another
    sweep       what a weight between two losses does, by networks that were trained beforehand
    diagram     what is inside a network, drawn from a run of it
    anatomy     its layers and what each costs, its feature maps, its card, a class of one's own
    insight     how far it looks, and what its stages and scales give
    surgery     what is lost where something is cut, silenced or repeated
    balances    what the schemes do that weigh several losses
    descents    two goals on a plane, and the ways between them
    street_views streets, and what segmenters read in them
    ablations   the papers' tables beside ours, and the small networks of their rows
    tables      what papers and studies report, as text
    numbers     numbers in prose, each bound to its source
    results     what the benchmarks measured
    series      the table of contents, the paths through it, and the questions at each end (`questions/`)
    coverage    what the papers hold, and how far each part of it has come: COVERAGE.md
    gate        what a notebook must be to be published
    publish     `python -m derainlib.lab.publish`: run a notebook and store its outputs

Only notebooks import this package; nothing here is needed to train a network or to clean a photograph.
"""
