"""Into which order does a VGG bring eight distortions of one size, trained and untrained?

    python benchmarks/loss_verdicts.py --vgg vgg16-397923af.pth

The places (1 the mildest, 8 the worst) that the perceptual losses of `derainlib.lab.distortions` give, in the mean over
the five sample scenes in heavy drawn rain, parts of 128 x 192 pixels. The weights of a VGG may not be passed on with
the repository; what they say may. The results go to benchmarks/results/loss_verdicts.json.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence

import common

from derainlib.lab import distortions, miniature
from derainlib.lab.probe import Probe

SIZE, PART, SEED = 8, (128, 192), 5
"""Of the errors in grey levels of 255; of the parts of the scenes in pixels; of the rain."""


def places(vgg: str, scenes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Loss → distortion → its mean place over the scenes."""
    terms = {title: term for title, term in distortions.judges(vgg).items() if "VGG" in title}
    by_scene = [distortions.ranks(_found(terms, scene)) for scene in scenes]
    kinds = by_scene[0]["VGG"]
    return {title: {kind: statistics.mean(one[title][kind] for one in by_scene) for kind in kinds} for title in terms}


def _found(terms: Mapping, scene: str) -> dict:
    pair = miniature.shower(scene, "heavy", SEED, PART)
    return distortions.verdicts(Probe(pair, distortions.errors(pair)), terms, SIZE)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "loss_verdicts")
    found.add_argument("--vgg", required=True, help="weights of VGG16, as torchvision gives them out")
    found.add_argument("--scenes", nargs="+", default=list(miniature.SCENES))
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Asks, writes, prints."""
    options = common.parse(parser(), arguments)
    found = {name: places(vgg, options.scenes) for name, vgg in (("trained", options.vgg), ("untrained", "untrained"))}
    common.write(options.out, {"size": SIZE, "part": PART, "scenes": options.scenes, "places": found})
    for name, rows in found.items():
        for title, row in rows.items():
            print(f"{title}, {name}:", ", ".join(f"{kind} {place:.1f}" for kind, place in row.items()))


if __name__ == "__main__":
    sys.exit(main())
