"""Draws the README's picture: hold-out photographs, what the shipped networks make of them, and the truth.

python tools/picture.py            # writes notebooks/images/results.jpg
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from derainlib import load, metrics
from derainlib.data.holdout import holdout
from derainlib.inference import clean
from derainlib.lab import figures, series
from derainlib.models import weights

TARGET = Path(__file__).parents[1] / "notebooks" / "images" / "results.jpg"
ROWS = (("light", 1), ("heavy", 2))
"""Kind of rain, and which photograph of scikit-image's hold-out."""
WINDOW = (slice(None), slice(None), slice(40, 280), slice(60, 380))


def main(arguments: Sequence[str] | None = None):
    """Scores are of the whole photograph, the picture shows a window of it; each photograph takes two rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    networks = {title: load(name) for name, title in series.NETWORKS.items() if name in weights.shipped()}
    shown, titles = [], []
    for kind, index in ROWS:
        pair = holdout(kind, "skimage")[index]
        images = {f"{kind} rain": pair.rainy} | {
            title: clean(network, pair.rainy) for title, network in networks.items()
        }
        titles += [f"{name}, {metrics.psnr(image, pair.clean).item():.1f} dB" for name, image in images.items()]
        titles.append("without rain")
        shown += [image[WINDOW][0] for image in (*images.values(), pair.clean)]
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(figures.jpeg(figures.show(shown, titles, columns=len(networks) // 2 + 1, width=2.25)))


if __name__ == "__main__":
    main()
