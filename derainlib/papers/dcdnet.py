"""The tables of the stage-wise network, DCDNet here, and the set-ups behind their rows.

Our text of the paper lost the numbers of all four tables. What is left are the rows, and the differences that its
sentences give; no figure is guessed.
"""

import dataclasses

from derainlib.papers.item import COMPARED, claim, equation, figure
from derainlib.papers.table import Row, Table, on
from derainlib.recipe import Loss, Recipe


def _dcdnet(name: str, source: str, *losses: Loss, **options) -> Recipe:
    """A recipe of DCDNet, Section 4.1: Adam 1e-3, ÷10 at steps 240,000 and 320,000 of 400,000, 10 patches of 100²."""
    return Recipe(
        name, source, "dcdnet", options, losses=losses or _EQ_8, steps=400_000, batch=10, patch=100, paired=1.0,
        milestones=(0.6, 0.8), gamma=0.1, samples_per_epoch=1800,
    )  # fmt: skip


_EQ_6 = Loss("mse", 1.0, {"on": "rain", "stages": "all", "early": 1.0, "last": 0.0})
"""Eq. 6 of DCDNet: the rain of every stage; the last of `stages` is the refined image, which Eq. 7 judges."""
_EQ_7 = Loss("l1"), Loss("perceptual")
_EQ_8 = (_EQ_6, *_EQ_7)
_UNREFINED = Loss("mse", 1.0, {"on": "rain", "stages": "all", "early": 1.0, "last": 1.0})

_OURS = _dcdnet("dcdnet", "Tables 1, 3 and 4, ours")
_NO_REFINEMENT = _dcdnet("dcdnet/no-refinement", "Tables 3 and 4, without refinement", _UNREFINED, refinement=False)


def _dilated(count: int) -> Recipe:
    """A block of so many dilated layers, each with twice the dilation of the one before."""
    return _dcdnet(f"dcdnet/L{count}", f"beside Section III-B, L = {count}", dilations=[2**i for i in range(count)])


_gain = on("Rain100H", measures=("psnr",))
_REFINEMENT, _STAGES = 0.40, 4.84
"""What refinement adds, and what 12 stages add to one, in dB of PSNR."""
_PERCENT = "SSIM 2 % below ours as well; of what the per cents are is not said"
_BOTH_CHANGE = "without the refinement Eq. 7 has nothing to judge, so that these rows train on Eq. 6 alone"
_LOST = "our text of the paper lost the table's numbers"
_PROTOCOL = "PSNR and SSIM; the text names no colour space"
_DATA = "Rain100H, 1,800 pairs to train and 200 to test"

TABLES = (
    Table(
        "dcdnet/table-1", "DCDNet, Table 1: other methods", "",
        (
            *(Row(name) for name in ("DSC", "LP", "DDN", "JORDER", "RESCAN", "DID-MDN")),
            Row("ours", _OURS, on("network", measures=("parameters",))(17_305)),
        ),
        data="Rain100H (1,800 pairs to train, 200 to test), Rain1200 (12,000 and 1,200), Rain1400 (13,600 and 1,400)",
        protocol=_PROTOCOL, stages=12,
        note=f"{_LOST}; the rows are the methods that it says it compares with, the parameters stand in a sentence",
    ),
    Table(
        "dcdnet/table-2", "DCDNet, Table 2: larger forms", "ours",
        (
            Row("DDN"),
            Row("RESCAN"),
            Row("ours", _OURS),
            Row(
                "DDN's size",
                _dcdnet(
                    "dcdnet/DDN-size", "Table 2, about DDN's size: 57,213", width=27, dilations=[1, 2, 4, 8, 16]
                ),
            ),
            Row(
                "RESCAN's size",
                _dcdnet(
                    "dcdnet/RESCAN-size", "Table 2, about RESCAN's size: 148,129", width=44, dilations=[1, 2, 4, 8, 16]
                ),
            ),
        ),
        stages=12,
        note=f"{_LOST}; widths and dilations are ours, chosen to come near the sizes",
    ),
    Table(
        "dcdnet/table-3", "DCDNet, Table 3: each component", "ours",
        (
            # A list, as JSON has it.
            Row("no dilation", _dcdnet("dcdnet/no-dilation", "Table 3, no dilation", dilations=[1, 1, 1, 1])),
            Row("no inner dense", _dcdnet("dcdnet/no-inner-dense", "Table 3, no inner dense connections", inner=False)),
            Row("no outer dense", _dcdnet("dcdnet/no-outer-dense", "Table 3, no outer dense connections", outer=False)),
            Row("no dense", _dcdnet("dcdnet/no-dense", "Table 3, no dense connections", inner=False, outer=False)),
            Row("no refinement", _NO_REFINEMENT, differences=_gain(-_REFINEMENT), note=_PERCENT),
            Row("ours", _OURS),
        ),
        data=_DATA, protocol=_PROTOCOL, stages=12, note=f"{_LOST}; {_BOTH_CHANGE}",
    ),
    Table(
        "dcdnet/table-4", "DCDNet, Table 4: coarse to fine", "ours",
        (
            Row(
                "single stage",
                _dcdnet("dcdnet/single", "Table 4, single stage", _UNREFINED, stages=1, refinement=False),
                differences=_gain(-_REFINEMENT - _STAGES),
                note=f"{_STAGES} dB and 22 % of SSIM below the row without refinement, which has 6.8 % more parameters",
            ),
            Row("no refinement", _NO_REFINEMENT, differences=_gain(-_REFINEMENT), note=_PERCENT),
            Row("ours", _OURS),
        ),
        data=_DATA, protocol=_PROTOCOL, note=f"{_LOST}; {_BOTH_CHANGE}",
    ),
    Table(
        "dcdnet/figure-10", "DCDNet, Fig. 10: the number of stages", "T = 12",
        tuple(
            Row(f"T = {stages}", _dcdnet(f"dcdnet/T{stages}", f"Fig. 10, T = {stages}", stages=stages))
            for stages in range(1, 15)
        ),
        data=_DATA,
        note="our text has no figures; it says that T = 12 is best, and that more stages are worse",
    ),
    Table(
        "dcdnet/table-4-more", "DCDNet, beside Table 4: the refinement without its loss", "ours",
        (
            Row("no refinement", _NO_REFINEMENT),
            Row(
                "no refinement, with L1",
                _dcdnet(
                    "dcdnet/no-refinement-L1", "beside Table 4, without refinement, Eq. 6 and L1", _UNREFINED, _EQ_7[0],
                    refinement=False,
                ),
            ),
            Row("no VGG", _dcdnet("dcdnet/no-VGG", "beside Table 4, Eq. 8 without the VGG term", _EQ_6, _EQ_7[0])),
            Row("ours", _OURS),
            Row(
                "Eq. 6 at 255",
                _dcdnet(
                    "dcdnet/rain-255", "beside Table 4, Eq. 8 with Eq. 6 at 255",
                    dataclasses.replace(_EQ_6, weight=255.0), *_EQ_7,
                ),
            ),
        ),
        note=(
            "from row to row one thing changes: the loss, the refinement, the loss; L1 judges the last image; "
            "for images in 0..255 a squared error weighs 255 times as much beside absolute ones"
        ),
        ours=True,
    ),
    Table(
        "dcdnet/dilations", "DCDNet, beside Section III-B: dilated layers in a block", "L = 4",
        tuple(
            Row(f"L = {count}", _OURS if count == 4 else _dilated(count)) for count in range(2, 7)
        ),
        note="the text says that four are enough; each further layer doubles the dilation, and adds weights",
        ours=True,
    ),
)  # fmt: skip

_NET, _PERCEPTUAL = "models/test_dcdnet.py", "losses/test_perceptual.py"

EQUATIONS = (
    equation("1", "rainy = background + rain", "rain.compose", "test_rain.py::test_known_values"),
    equation("2", "a stage: f, the block and r, from all estimates so far", "models.dcdnet.DCDNet",
             f"{_NET}::test_equations", f"{_NET}::test_stages_share_their_weights"),
    equation("3", "a layer of the block reads all maps before it", "models.dcdnet.Stage", f"{_NET}::test_equations"),
    equation("4", "the fusion of all maps", "models.dcdnet.DenseFusion",
             f"{_NET}::test_equations", f"{_NET}::test_a_fusion_by_hand"),
    equation("5", "the refinement", "models.dcdnet.DCDNet", f"{_NET}::test_equations"),
    equation("6", "the squared error of every stage's rain", "losses.MSE",
             f"{_NET}::test_eq_6_is_a_loss_on_all_stages_but_the_refined_one"),
    equation("7", "the absolute error of the refined picture, and of its VGG features",
             ("losses.L1", "losses.Perceptual"), f"{_PERCEPTUAL}::test_eq_7_in_numpy"),
    equation("8", "the sum of both", ("papers.dcdnet.TABLES", "losses.balance.Fixed"),
             f"{_NET}::test_eq_6_is_a_loss_on_all_stages_but_the_refined_one",
             f"{_PERCEPTUAL}::test_eq_7_in_numpy"),
)  # fmt: skip

FIGURES = (
    figure(1, "the results of the stages, and the refined one", "shown", "06: Coarse to fine"),
    figure(2, "the network", "shown", "derainlib.lab.diagram.trace", "06: A stage, equation by equation"),
    *(figure(number, about, "impossible", note=COMPARED) for number, about in (
        (3, "methods with hand-made priors on drawn rain"),
        (4, "other networks on drawn rain"),
        (5, "other networks of its size"),
        (6, "methods with hand-made priors on photographs"),
        (7, "other networks on photographs"),
    )),
    figure(8, "the results of Table 3's rows", "waits", "06: Cut the wires",
           note="pictures of the rows come with the weights of the study dcdnet/table-3"),
    figure(9, "single stage, multi-stage, refined", "waits", "06: Coarse to fine",
           note="pictures of the rows come with the weights of the study dcdnet/table-4"),
    figure(10, "scores over the number of stages", "partly", "06b: How many stages? Two experiments",
           note="a miniature; the study dcdnet/figure-10 has T = 1 to 14"),
)  # fmt: skip

CLAIMS = (
    claim("four dilated layers are enough", "Section III-B", "waits", "dcdnet/dilations",
          note="none of the paper's tables ablates L"),
    claim("T = 12 is best, and more stages are worse", "Section IV-F", "partly",
          "06b: How many stages? Two experiments", note="a miniature"),
    claim("many stages have 6.8 % more parameters than one", "Section IV-G", "shown",
          "06b: The case of the missing 335", note="5.3 % in our reading"),
    claim("17,305 parameters", "Section IV-C", "shown", "06b: What 17,305 parameters buy"),
)  # fmt: skip
