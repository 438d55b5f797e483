"""Training: one readable loop for every network and every loss, on one device or many.

    loop.py         the loop
    job.py          what the command line and the notebook ask for by names
    folder.py       the run's folder: whose it is, checkpoints, log and weights
    judging.py      the scores on validation pairs
    state.py        what a training carries along beside weights and optimiser

A run leaves a folder:

    recipe.json             what was trained
    data.json               on what: files, bytes, and a checksum over names and sizes (`derainlib.data.fingerprint`);
                            a run goes on only beside the same
    run.lock                kept by the process that trains: a second one in the folder is refused
    start.sha256            where it started from weights, their checksum: it goes on only beside the same ones
    metrics.jsonl           a JSON object a step: epoch, lr, loss, each term (loss_<term>), its weight where a balance
                            moves it (weight_<term>), samples_per_second; with fp16 the scale of the gradients (it
                            halves where a step is skipped, since they were not finite); psnr_rgb, ssim_y when
                            validated (segmenters: miou, accuracy)
    plan.jsonl              where it is for `minutes`: how many steps were planned, and when (`derainlib.pace`)
    checkpoints/step-N/     everything needed to go on, with checksums; the newest two are kept, and where one is
                            damaged, the other is taken
    last.safetensors/.json  the final weights, with their card: what the training is for
    best.safetensors/.json  the weights with the best validation PSNR (segmenters: mIoU), to look into

No score chooses what it then judges: the final weights are shipped, and `Job` validates on photographs that it holds
back from the training. With a recipe's `ema`, validation and both files have the average of the weights in their place.

The files of a finished run are not written any more; a longer training adds a phase (`Job.phase`).

A checkpoint is written to a temporary folder, synced and renamed, so a run killed at any moment goes on from a whole
one. It then ends with the same weights as an uninterrupted run, since every draw depends on (seed, epoch, index) alone.
"""

from derainlib.training.folder import KEPT_CHECKPOINTS, Record
from derainlib.training.job import Job
from derainlib.training.loop import (
    AUTOMATIC,
    FOREVER,
    LOG_SECONDS,
    SMALLEST_SCALE,
    Observer,
    Result,
    Run,
    samples_of,
    train,
)
from derainlib.training.state import Plateau, averaged

__all__ = [
    "AUTOMATIC", "FOREVER", "KEPT_CHECKPOINTS", "LOG_SECONDS", "SMALLEST_SCALE",
    "Job", "Observer", "Plateau", "Record", "Result", "Run", "averaged", "samples_of", "train",
]  # fmt: skip
