"""The tables of PHPNet (Xu et al., "Intensity-Aware Single-Image Deraining with Semantic and Color Regularization").

With the set-ups behind their rows, and those of the segmenters that judge derained streets. The text does not say how
PSNR and SSIM were measured.
"""

import dataclasses

from derainlib.papers.item import COMPARED, claim, equation, figure
from derainlib.papers.table import QUALITY, Row, Table, on
from derainlib.recipe import Loss, Recipe


def _phpnet(name: str, source: str, *losses: Loss, model: str = "phpnet", rain: str = "streets", **changes) -> Recipe:
    """A recipe of PHPNet, Section III.D: Adam 3e-4, ÷10 at epochs 150 and 200 of 250, batches of one.

    An epoch is Cityscapes' 2,975 training images, in our rain alone. The paper crops but does not say how large: 512²,
    the size of its timings, is our choice. Scale, rotation, place and mirroring are drawn anew in every epoch.
    """
    return Recipe(
        name, source, model, losses=losses or _EQ_5, steps=250 * 2975, batch=1, patch=512, rain=rain, paired=0.0,
        lr=3e-4, milestones=(0.6, 0.8), gamma=0.1, samples_per_epoch=2975, **changes,
    )  # fmt: skip


_COARSE = Loss("charbonnier", 1.0, {"on": "coarse", "lowpass": 5})
"""λ_1 of PHPNet's Eq. 5: X^c against the truth without details. The paper chooses among four kernels by eye and does
not say which; 5x5 is our choice."""
_FINE = Loss("charbonnier", 1.0, {"on": "background"})
_UNFILTERED = Loss("charbonnier", 1.0, {"on": "coarse"})
_COLOUR = Loss("colour", 0.1)
_SEMANTIC = Loss("semantic", 0.05, {"network": "phi"})
_ACC_COL = (_COARSE, _FINE, _COLOUR)
_EQ_5 = (*_ACC_COL, _SEMANTIC)
"""PHPNet's Eq. 5 with the paper's λ, judged by the frozen Φ."""


def _segmenting(name: str, source: str, *losses: Loss, **changes) -> Recipe:
    """A segmenter for streets. PHPNet's paper says nothing about its training; the values are ours.

    300 epochs of Cityscapes' 2,975 training images, 12 crops of 384² a step, Adam 1e-3 down to 0 along a cosine.
    """
    values = {"rain": "none", "schedule": "cosine", "steps": 300 * 2975 // 12} | changes
    return Recipe(
        name, source, name.partition("/")[0], losses=losses or (Loss("semantic"),), batch=12, patch=384, paired=0.0,
        samples_per_epoch=2975, criterion="miou", validation=50, **values,
    )  # fmt: skip


_ESPNET = _segmenting("espnet", "Table VI, ESPNet")
_FINE_TUNING = {"start": _ESPNET.name, "lr": 2e-4, "steps": 30 * 2975 // 12}

_OURS = _phpnet("phpnet", "Tables I to VI, ours; Table II, Ours-Intensity")

_four = on("Cityscapes", "Rain800", "DIDMDN", "DDN")
_streets = on("Cityscapes")
_read_streets = on("Cityscapes", measures=(*QUALITY, "accuracy", "miou"))
_readers = on("ESPNet", "PSPNet", "ESPNet, fine-tuned", measures=("accuracy", "miou"))
_DATA = "Cityscapes in the paper's own rain: 2,975 pictures to train, the 500 of the validation to test"
_PROTOCOL = "PSNR and SSIM; the text names no colour space"


def _compared(label: str, seconds: float | None, *figures: float, recipe: Recipe | None = None, note: str = "") -> Row:
    """A row of Table I."""
    timed = on("512x512", measures=("seconds",))(seconds)
    return Row(label, recipe, _four(*figures) | timed, note=note)


TABLES = (
    Table(
        "phpnet/table-1", "PHPNet, Table I: other methods", "",
        (
            _compared("LP", None, 20.61, 0.6927, 21.47, 0.7825, 19.95, 0.7910, 18.40, 0.4577,
                      note="about 60 s for 512x512 on a CPU"),
            _compared("DDN", 0.091, 24.32, 0.7414, 21.33, 0.7918, 25.49, 0.8491, 26.21, 0.8401),
            _compared("JORDER", 0.178, 23.30, 0.7261, 21.08, 0.8053, 24.32, 0.8022, 22.24, 0.7741),
            _compared("RESCAN", 0.365, 24.30, 0.7862, 22.57, 0.8121, 18.29, 0.7543, 26.45, 0.8458),
            _compared("DIDMDN", 0.051, 25.63, 0.8488, 21.42, 0.8126, 26.20, 0.8978, 26.35, 0.8384),
            _compared("HeavyRain", 0.150, 23.14, 0.7174, 17.59, 0.6825, 20.12, 0.7590, 24.10, 0.8313),
            _compared("SPANet", 0.459, 25.45, 0.8371, 20.47, 0.7569, 22.07, 0.7914, 26.61, 0.8517),
            _compared("PReNet", 0.101, 25.24, 0.8218, 20.49, 0.7855, 24.72, 0.8581, 27.46, 0.8612),
            _compared("UMRL", 0.525, 26.29, 0.8613, 22.55, 0.8323, 26.96, 0.8951, 27.53, 0.8631),
            _compared("MSPFN", 0.308, 26.47, 0.8845, 23.18, 0.8415, 27.45, 0.9018, 28.14, 0.8732),
            _compared("ours", 0.008, 26.53, 0.8975, 23.29, 0.8521, 27.59, 0.9015, 27.95, 0.8825, recipe=_OURS),
        ),
        data=f"{_DATA}, and the test sets of Rain800 (100 pictures), DIDMDN (1,200) and DDN (1,000). For Cityscapes "
        "the other networks are tuned on the paper's training pictures",
        protocol=f"{_PROTOCOL}; seconds a picture on an NVIDIA GTX 1080 Ti, of 512x512 where the text names a size",
    ),
    Table(
        "phpnet/table-2", "PHPNet, Table II: the rain to train on", "intensity",
        (
            Row("density", _phpnet("phpnet/density", "Table II, Ours-Density", rain="density"),
                on("Rain800")(20.51, 0.8143), note="trained on DID-MDN's pairs"),
            Row("spatial", _phpnet("phpnet/spatial", "Table II, Ours-Spatial", rain="spatial"),
                on("Rain800")(19.08, 0.7741), note="trained on SPANet's pairs"),
            Row("depth", _phpnet("phpnet/depth", "Table II, Ours-Depth", rain="depth"),
                on("Rain800")(23.15, 0.8211), note="trained on RainCityscapes (Hu et al. 2019)"),
            Row("intensity", _OURS, on("Rain800")(23.29, 0.8521)),
        ),
        data="tested on Rain800's 100 test pictures; each row is trained on another set, for which our recipes have "
        "rain of that kind",
        protocol=_PROTOCOL,
    ),
    Table(
        "phpnet/table-3", "PHPNet, Table III: the terms of the loss", "L_acc",
        (
            Row("L_acc", _phpnet("phpnet/acc", "Table III, L_acc", _COARSE, _FINE),
                _read_streets(25.59, 0.8419, 0.597, 0.155)),
            Row("+ L_col", _phpnet("phpnet/acc-col", "Table III, L_acc + L_col", *_ACC_COL),
                _read_streets(25.64, 0.8572, 0.671, 0.206)),
            Row("+ L_col + L_seg", _OURS, _read_streets(26.53, 0.8975, 0.701, 0.288)),
        ),
        data=_DATA,
        protocol=f"{_PROTOCOL}, nor who reads the streets; the last row's accuracy and mIoU are ESPNet's of Table VI",
    ),
    Table(
        "phpnet/table-4", "PHPNet, Table IV: the network, its targets and its rain", "ours",
        (
            Row("standard convolution",
                _phpnet("phpnet/standard", "Table IV, standard convolution", model="phpnet-standard"),
                _streets(20.41, 0.7545)),
            Row("parallel only",
                _phpnet("phpnet/parallel", "Table IV, parallel only", model="phpnet-parallel"),
                _streets(22.61, 0.7911)),
            Row("hierarchical only",
                _phpnet("phpnet/hierarchical", "Table IV, hierarchical only", model="phpnet-hierarchical"),
                _streets(24.34, 0.8207)),
            Row("PHP-concatenation",
                _phpnet("phpnet/concatenation", "Table IV, PHP-concatenation", model="phpnet-concatenation"),
                _streets(25.17, 0.8710)),
            Row("PHP → non-local",
                _phpnet("phpnet/nonlocal", "Table IV, PHP → non-local", model="phpnet-nonlocal"),
                _streets(24.91, 0.8431)),
            Row("no contrast-aware pooling",
                _phpnet("phpnet/no-contrast", "Table IV, w/o contrast-aware pooling", model="phpnet-no-contrast"),
                _streets(25.47, 0.8817)),
            Row("max-pooling",
                _phpnet(
                    "phpnet/max-pooling", "Table IV, contrast-aware pooling → max-pooling", model="phpnet-max-pooling"
                ),
                _streets(25.10, 0.8563)),
            Row("unfiltered target",
                _phpnet("phpnet/unfiltered", "Table IV, X_g^gt → X^gt", _UNFILTERED, _FINE, _COLOUR, _SEMANTIC),
                _streets(26.23, 0.8906)),
            Row("no X",
                _phpnet(
                    "phpnet/no-refinement", "Table IV, w/o X", _COARSE, _COLOUR, _SEMANTIC,
                    model="phpnet-no-refinement",
                ),
                _streets(20.19, 0.7126)),
            Row("X^c by QSNet (paper: SPANet)",
                _phpnet(
                    "phpnet/qsnet", "Table IV, X^c from another network: QSNet for SPANet", model="phpnet-qsnet"
                ),
                _streets(25.87, 0.8620), note="the figures are those with SPANet"),
            Row("no small streaks", _phpnet("phpnet/no-small", "Table IV, w/o S", rain="streets-no-small"),
                _streets(25.82, 0.8841)),
            Row("no medium streaks", _phpnet("phpnet/no-medium", "Table IV, w/o M", rain="streets-no-medium"),
                _streets(24.71, 0.8701)),
            Row("no large streaks", _phpnet("phpnet/no-large", "Table IV, w/o L", rain="streets-no-large"),
                _streets(25.58, 0.8820)),
            Row("ours", _OURS, _streets(26.53, 0.8975)),
        ),
        data=_DATA, protocol=_PROTOCOL,
    ),
    Table(
        "phpnet/table-5", "PHPNet, Table V: ways to use semantics", "ours",
        (
            Row("shared objects",
                _phpnet(
                    "phpnet/shared-objects", "Table V, (a)", *_ACC_COL, Loss("presence", 0.05), model="phpnet-objects"
                ),
                _read_streets(17.74, 0.7211, None, None)),
            Row("cascaded objects",
                _phpnet(
                    "phpnet/cascaded-objects", "Table V, (b)", *_ACC_COL, Loss("presence", 0.05, {"network": "phi"})
                ),
                _read_streets(20.69, 0.7007, None, None)),
            Row("shared segmentation",
                _phpnet(
                    "phpnet/shared-segmentation", "Table V, (c)", *_ACC_COL, Loss("semantic", 0.05),
                    model="phpnet-segmentation",
                ),
                _read_streets(24.32, 0.8336, 0.730, 0.301),
                note="above the last row's: perhaps read by the network's own class output, which is a guess"),
            Row("ours", _OURS, _read_streets(26.53, 0.8975, 0.701, 0.288)),
        ),
        data=_DATA, protocol=f"{_PROTOCOL}, nor who reads the streets",
    ),
    Table(
        "phpnet/table-6", "PHPNet, Table VI: what segmenters read in derained streets", "",
        (
            Row("rain", None, _readers(0.262, 0.061, 0.115, 0.436, 0.625, 0.225),
                note="PSPNet's pair may be the wrong way round: nowhere else is the mIoU above the accuracy"),
            Row("clean", None, _readers(0.905, 0.351, 0.939, 0.692, None, None)),
            Row("SPANet", None, _readers(0.515, 0.147, 0.658, 0.225, 0.633, 0.257)),
            Row("DIDMDN", None, _readers(0.544, 0.164, 0.706, 0.307, 0.629, 0.231)),
            Row("UMRL", None, _readers(0.602, 0.203, 0.739, 0.346, 0.641, 0.262)),
            Row("ours", _OURS, _readers(0.701, 0.288, 0.869, 0.472, 0.726, 0.311)),
        ),
        data=_DATA,
        protocol="overall pixel accuracy and mIoU of networks as they were trained before, and of an ESPNet tuned on "
        "each row's own pictures",
        measured="street_scores",
    ),
    Table(
        "phpnet/weights", "PHPNet, Section III.C: other weights of Eq. 5", "ours",
        (
            Row(
                "λ1 = 0.4",
                _phpnet(
                    "phpnet/coarse-0.4", "Section III.C, λ1 = 0.4", dataclasses.replace(_COARSE, weight=0.4), *_EQ_5[1:]
                ),
            ),
            Row(
                "uncertainty",
                _phpnet(
                    "phpnet/uncertainty", "Section III.C, weights learned from uncertainty, which did not converge",
                    *(dataclasses.replace(loss, weight=1.0) for loss in _EQ_5), balance="uncertainty",
                ),
            ),
            Row("ours", _OURS),
        ),
        note="its text gives no figures: no obvious change with λ1 = 0.4, no convergence with uncertainty weights",
        ours=True,
    ),
)  # fmt: skip

OTHERS = (
    _phpnet("phpnet/acc-seg", "Fig. 5(c), L_acc + L_seg", _COARSE, _FINE, _SEMANTIC),
    # The presence of classes, for Table V (b), weighs what Zhang et al. 2018 give it.
    _segmenting("phi", "Eq. 5, Φ", Loss("semantic"), Loss("presence", 0.2)),
    _ESPNET,
    _segmenting("espnet/rain", "Table VI, finetuned on rain", rain="streets", **_FINE_TUNING),
    # Its photographs are derained streets, made by a network beforehand.
    _segmenting("espnet/derained", "Table VI, finetuned on derained streets", **_FINE_TUNING),
    _segmenting("pspnet", "Table VI, PSPNet"),
)
"""Set-ups that no row stands for: of one more loss, of Φ, and of the segmenters that read Table VI's streets."""

_NET, _CHARBONNIER, _COLOUR = "models/test_phpnet.py", "losses/test_charbonnier.py", "losses/test_colour.py"

EQUATIONS = (
    equation("1", "rainy = background + rain", "rain.compose", "test_rain.py::test_known_values"),
    equation("2", "the contrast map", "models.phpnet.ContrastPooling",
             f"{_NET}::test_eq_2_by_hand", f"{_NET}::test_contrast_pooling_against_numpy"),
    equation("3", "background accuracy of both outputs", "losses.Charbonnier",
             f"{_CHARBONNIER}::test_both_summands_are_eq_3"),
    equation("4", "colour alignment", "losses.Colour", f"{_COLOUR}::test_it_is_eq_4"),
    equation("5", "the weighted sum, with Φ's cross-entropy", ("losses.Semantic", "losses.balance.Fixed"),
             "losses/test_semantic.py::test_four_terms_are_eq_5"),
)  # fmt: skip

FIGURES = (
    figure(1, "other methods fail on structures and colours", "impossible", note=COMPARED),
    figure(2, "the network", "shown", "derainlib.lab.diagram.trace", "08: Two networks in a row, and two pictures"),
    figure(3, "the block", "shown", "derainlib.lab.diagram.trace", "08: The parallel pyramid"),
    figure(4, "results without the block, and without the pooling", "waits", "phpnet/table-4",
           note="pictures come with the weights of the study phpnet/table-4"),
    figure(5, "results with one, two and three terms", "waits", "08b: What each term is worth",
           note="pictures come with the weights of the study phpnet/table-3"),
    *(figure(number, about, "impossible", note=COMPARED) for number, about in (
        (6, "other methods on Rain800"),
        (7, "other methods on DID-MDN's set"),
        (8, "other methods on photographs"),
        (9, "other methods where heavy rain takes colours"),
    )),
    figure(10, "grey photographs with and without the colour term", "shown", "08b: Grey photographs",
           note="its effect is not reproduced: our miniatures are no less tinted with the term"),
    figure(11, "what a segmenter reads in derained streets", "partly", "09: The verdict",
           note="on CamVid's streets and drawn ones in the place of Cityscapes'; SYNTHIA is not here"),
    figure(12, "failures", "shown", "08: Where it fails"),
)  # fmt: skip

CLAIMS = (
    claim("λ1 = 0.4 makes no difference", "Section III-C", "waits", "phpnet/weights"),
    claim("weights from uncertainty do not converge", "Section III-C", "shown", "11b: Why did it not converge?",
          "phpnet/weights"),
    claim("the four terms have the same size after an epoch", "Section III-C", "partly", "08b: Value, map, gradient",
          note="not L_col: on our images it is a thousandth of the others"),
    claim("a segmenter tuned to derained pictures is no better than one tuned to rain", "Section IV-C", "shown",
          "09b: Judges that know rain"),
    claim("the first output leaves the details to the second", "Section III-A", "partly", "08: The two outputs",
          note="ours does not: X^c is O less its rain, so that details stay, and it is nearer to the truth than to the "
          "low-passed truth"),
)  # fmt: skip
