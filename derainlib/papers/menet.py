"""The tables of MENET (Fan, Chen and Li, "Multi-Task Learning Enhanced Single Image De-Raining"), and the set-ups.

The text does not say how PSNR and SSIM were measured; the authors' scripts score RGB on crops of 224².
"""

import dataclasses

from derainlib.papers.item import COMPARED, claim, equation, figure
from derainlib.papers.table import Row, Table, on
from derainlib.recipe import Loss, Recipe


def _menet(name: str, source: str, *losses: Loss, model: str = "menet", balance: str = "fixed") -> Recipe:
    """A recipe of MENET, Section IV: Adam 1e-3, ÷10 at epoch 40 of 100.

    20 patches of 224² a step, a second ÷10 at epoch 80 and the clipped result are from the authors' scripts. The paper
    cuts the four corners and the middle out of each of RainTrainH's 1,800 images and mirrors them, 18,000 patches. Here
    places and mirroring are drawn anew each time, and 18,000 patches count as an epoch. By the same count RainTrainL's
    200 images make 2,000 patches and 10,000 steps; no recipe has that schedule. The losses are those of images in
    0..255. First weights are PyTorch's, since the text names none.
    With LB and GB a task's own weight is 1, as in the paper.
    """
    return Recipe(
        name, source, model, {"clip": True}, losses=losses, balance=balance, steps=100 * 18_000 // 20, batch=20,
        patch=224, paired=1.0, milestones=(0.4, 0.8), gamma=0.1, samples_per_epoch=18_000,
    )  # fmt: skip


_P, _E, _T = Loss("mse", 1.0, {"scale": 255}), Loss("edge"), Loss("texture")
"""L_p, L_e and L_t of MENET's Eq. 4, 6 and 8."""
_EDGE = Loss("edge", 1e-2)
_VGG_WEIGHT = round(1e-3 * 48 / 256 * (255 * 0.226) ** 2, 4)
_VGG = Loss("perceptual", _VGG_WEIGHT, {"network": "vgg19", "layer": "relu3_4", "norm": "l2"})
"""MENET's Table IV: 1e-3 times Eq. 5, the mean over the features of images in 0..255. Our term averages over pixels and
channels, which is 256/48 times that mean, and its VGG sees images divided by 255 and by ImageNet's deviation of 0.226;
what a VGG makes of an image grows (its biases aside) as the image does. The text names the layer conv3_4; the authors'
code takes it behind its ReLU, as their VGG has all of its layers."""
_VGG16 = Loss("perceptual", _VGG_WEIGHT, {"network": "vgg16", "layer": "relu3_3", "norm": "l2"})
"""VGG16 in the place of VGG19: the last layer of the same block, with as many channels at the same size."""
_AVERAGE = 0.855, 0.145
"""What LB gives to L_p and L_e on average, over 4,000 steps of the plan "menet" of `tools/tables.py` with seed 0."""
_SCALAR = Loss("texture", 1.0, {"form": "scalar"})
"""L_t as the authors' code computes it."""

# Of the two schemes the paper shows LB's pictures.
_OURS = _menet("menet", "Tables I and II, MENET-LB", _P, _E, _T, balance="loss")
_MSE = _menet("menet/MSE", "Tables I and IV, L_p (baseline)", _P, model="menet-shallow")
_FIXED = _menet("menet/edge-fixed", "Tables I and IV, L_p L_e, fixed weight 1e-2", _P, _EDGE, model="menet-shallow")
_EDGE_LB = _menet("menet/edge-LB", "Table I, L_p L_e, LB", _P, _E, model="menet-shallow", balance="loss")
_GB = _menet("menet/GB", "Tables I and II, L_p L_e L_t, GB, CA: MENET-GB", _P, _E, _T, balance="gradient")
_LB = _menet("menet/LB", "Tables I and II, L_p L_e L_t, LB, CA: MENET-LB", _P, _E, _T, balance="loss")

_both = on("Rain100L", "Rain100H")
_timed = on("224x224, CPU", "224x224, GPU", measures=("seconds",))
_ON_MSE = _both(33.5484, 0.9506, 27.5016, 0.8146)
_ON_FIXED = _both(33.5116, 0.9508, 27.6132, 0.8200)
_ON_GB = _both(34.1852, 0.9554, 28.1457, 0.8524)
_ON_LB = _both(34.0846, 0.9548, 28.1572, 0.8534)
_DATA = (
    "two trainings a row: RainTrainL's 200 pairs, tested on Rain100L, and RainTrainH's 1,800, tested on Rain100H (546 "
    "of them share their background with a test picture, as BRN's paper says)"
)
_PROTOCOL = "mean PSNR and SSIM; the text names no colour space, the authors' scripts score RGB on crops of 224²"
_MARKS = "our text of the paper marks both GB and LB in this row; its place and the prose say LB"
_SWAPPED = (
    "the two rows with texture may be swapped on Rain100H: the authors' own file gives LB 27.7668 and 0.84717, and GB "
    "27.7977 and 0.84645"
)

TABLES = (
    Table(
        "menet/table-1", "MENET, Table I: tasks, their weights, channel attention", "L_p",
        (
            Row("L_p", _MSE, _ON_MSE),
            Row("L_p L_e, fixed", _FIXED, _ON_FIXED),
            Row(
                "L_p L_e, GB",
                _menet("menet/edge-GB", "Table I, L_p L_e, GB", _P, _E, model="menet-shallow", balance="gradient"),
                _both(33.7361, 0.9527, 27.8344, 0.8457),
            ),
            Row("L_p L_e, LB", _EDGE_LB, _both(33.6634, 0.9524, 27.9586, 0.8393), note=_MARKS),
            Row(
                "L_p L_e L_t, GB",
                _menet(
                    "menet/texture-GB", "Table I, L_p L_e L_t, GB", _P, _E, _T, model="menet-shallow",
                    balance="gradient",
                ),
                _both(33.6836, 0.9526, 27.7668, 0.8472),
                note=_SWAPPED,
            ),
            Row(
                "L_p L_e L_t, LB",
                _menet(
                    "menet/texture-LB", "Table I, L_p L_e L_t, LB", _P, _E, _T, model="menet-shallow", balance="loss"
                ),
                _both(33.5885, 0.9512, 27.7977, 0.8465),
                note=f"{_MARKS}; {_SWAPPED}",
            ),
            Row("L_p L_e L_t, GB, CA", _GB, _ON_GB),
            Row("L_p L_e L_t, LB, CA", _LB, _ON_LB),
        ),
        data=_DATA, protocol=_PROTOCOL,
    ),
    Table(
        "menet/table-2", "MENET, Table II: its own rows, shallow and deep", "MENET-LB",
        (
            Row("MENET-GB", _GB, _ON_GB),
            Row("MENET-LB", _LB, _ON_LB),
            Row(
                "MENET-GB-deep",
                _menet("menet/GB-deep", "Table II, MENET-GB-deep", _P, _E, _T, model="menet-deep", balance="gradient"),
                _both(34.2239, 0.9559, 28.7399, 0.8610),
            ),
            Row(
                "MENET-LB-deep",
                _menet("menet/LB-deep", "Table II, MENET-LB-deep", _P, _E, _T, model="menet-deep", balance="loss"),
                _both(34.1839, 0.9556, 28.7167, 0.8591),
            ),
            Row("DSC", None, _both(25.4473, 0.8275, 20.2846, 0.5530), note="not trained"),
            Row("DDN", None, _both(30.1555, 0.9082, 24.2562, 0.7400)),
            Row("JORDER-E", None, _both(37.3676, 0.9792, 27.7527, 0.8555)),
            Row("RESCAN", None, _both(35.5393, 0.9672, 28.2138, 0.8572)),
        ),
        data=f"{_DATA}; the other networks trained again on the same pairs", protocol=_PROTOCOL,
    ),
    Table(
        "menet/table-3", "MENET, Table III: running time", "",
        (
            Row(
                "ours", _OURS, _timed(0.6578, 0.0030),
                note="by the authors' log the time on the CPU is that of the network without attention",
            ),
            Row("DSC", None, _timed(70.4289, None)),
            Row("DDN", None, _timed(1.8226, 0.0084)),
            Row("JORDER-E", None, _timed(27.6392, 0.0151)),
            Row("RESCAN", None, _timed(4.2296, 0.0403)),
        ),
        protocol="seconds a picture, the mean of 1,000: Intel Pentium G645 at 2.9 GHz; NVIDIA GTX Titan X",
        measured="network_speed",
    ),
    Table(
        "menet/table-4", "MENET, Table IV: VGG19 in the place of edges", "MSE",
        (
            Row("MSE", _MSE, _ON_MSE),
            Row(
                "MSE + VGG",
                _menet("menet/VGG", "Table IV, VGG19 in the place of edges", _P, _VGG, model="menet-shallow"),
                _both(33.8075, 0.9550, 27.6265, 0.8210),
                note="fixed weight 1e-3",
            ),
            Row("MSE + edge", _FIXED, _ON_FIXED, note="fixed weight 1e-2"),
        ),
        data=_DATA, protocol=_PROTOCOL,
    ),
    Table(
        "menet/table-1-more", "MENET, beside Table I: value or movement, each task alone", "L_p",
        (
            Row("L_p", _MSE),
            Row(
                "L_e alone",
                _menet("menet/edge-alone", "beside Table I, L_e alone", _E, model="menet-shallow"),
                note="L_e does not see the colour of a plain surface",
            ),
            Row("L_p L_e, LB", _EDGE_LB),
            Row(
                "L_p L_e, fixed at LB's average",
                _menet(
                    "menet/edge-average", "beside Table I, L_p L_e, fixed at LB's average",
                    *(dataclasses.replace(loss, weight=value) for loss, value in zip((_P, _E), _AVERAGE, strict=True)),
                    model="menet-shallow",
                ),
            ),
            Row(
                "L_p L_e L_t scalar, LB as printed",
                _menet(
                    "menet/scalar-LB", "beside Table I, L_p L_e L_t, LB, as the authors compute them", _P, _E, _SCALAR,
                    model="menet-shallow", balance="loss-printed",
                ),
                note="in float32 the weight of a texture that is 1e8 times the other tasks is zero",
            ),
            Row(
                "L_p L_e L_t scalar, GB",
                _menet(
                    "menet/scalar-GB", "beside Table I, L_p L_e L_t, GB, texture as the authors compute it", _P, _E,
                    _SCALAR, model="menet-shallow", balance="gradient",
                ),
            ),
            Row("L_p, CA", _menet("menet/attention", "beside Table I, L_p with channel attention", _P)),
        ),
        note="tells LB's value from its movement, attention from the losses, and the authors' texture from ours",
        ours=True,
    ),
    Table(
        "menet/table-4-more", "MENET, beside Table IV: VGG16, trained and untrained", "MSE",
        (
            Row("MSE", _MSE),
            Row(
                "MSE + VGG16 (paper: VGG19)",
                _menet("menet/VGG16", "beside Table IV, VGG16 for VGG19", _P, _VGG16, model="menet-shallow"),
            ),
            Row(
                "MSE + VGG16, untrained",
                _menet(
                    "menet/VGG16-untrained", "beside Table IV, VGG16 with random weights", _P,
                    dataclasses.replace(_VGG16, options=_VGG16.options | {"weights": "untrained"}),
                    model="menet-shallow",
                ),
                note="the weight is that of the trained VGG, though random features are of another size",
            ),
            Row("MSE + edge", _FIXED),
        ),
        note="VGG16 stands in for VGG19, whose weights are not here",
        ours=True,
    ),
)  # fmt: skip

OTHERS = (_menet("menet/uncertainty", "no row: weights of Kendall et al. 2018", _P, _E, _T, balance="uncertainty"),)
"""Set-ups that no row stands for."""

_BALANCE, _TERMS = "losses/test_balance.py", "losses/test_terms.py"
_EDGE, _TEXTURE = "losses/test_edge.py", "losses/test_texture.py"
_LOST = "the page with Fig. 3 to 6 is missing from our text"

EQUATIONS = (
    equation("1", "rainy = background + rain", "rain.compose", "test_rain.py::test_known_values"),
    equation("2", "the weighted sum of the tasks", "losses.balance.Fixed", f"{_BALANCE}::test_loss_balance_by_hand"),
    equation("3", "the squared error", "losses.MSE", f"{_TERMS}::test_mse_is_eq_15_per_value"),
    equation("4", "L_p, the same of the background", "losses.MSE", f"{_TERMS}::test_mse_is_eq_15_per_value"),
    equation("5", "the squared error of features", "losses.Edge", f"{_EDGE}::test_eq_5_against_numpy"),
    equation("6", "L_e, the features being Sobel's", "losses.Edge", f"{_EDGE}::test_eq_5_against_numpy",
             f"{_EDGE}::test_responses_against_scipy"),
    equation("7", "the distance of Gram matrices of patches", "losses.Texture",
             f"{_TEXTURE}::test_eq_7_against_numpy", f"{_TEXTURE}::test_gram_by_hand"),
    equation("8", "L_t, the same of the background", "losses.Texture", f"{_TEXTURE}::test_eq_7_against_numpy"),
)  # fmt: skip

FIGURES = (
    figure(1, "other methods beside MENET-LB", "impossible", note=COMPARED),
    figure(2, "one scene, several rains", "shown", "01: Many answers to one equation"),
    figure(3, "the network", "shown", "derainlib.lab.diagram.trace", "10: The network, block by block", note=_LOST),
    figure(4, "down and up without losing a pixel", "shown", "10: Going down without losing a pixel", note=_LOST),
    figure(5, "unknown", "impossible", note=_LOST),
    figure(6, "unknown", "impossible", note=_LOST),
    figure(7, "gradients of a photograph with and without rain", "shown", "10b: Edges"),
    figure(8, "histograms of PSNR by image", "shown", "10b: Not only means"),
    figure(9, "box plots of SSIM by image", "shown", "10b: Not only means"),
    figure(10, "results of Table I's rows", "waits", "10b: Which losses? Table I",
           note="pictures come with the weights of the study menet/table-1"),
    figure(11, "other methods on drawn rain", "impossible", note=COMPARED),
    *(figure(number, f"{about}, other methods", "impossible", note=COMPARED) for number, about in (
        (12, "drizzle"), (13, "moderate rain"), (14, "heavy rain"), (15, "strong light"), (16, "failures"),
    )),
)  # fmt: skip

CLAIMS = (
    claim("a VGG loss costs more than twice as much as the edge loss", "Section IV-C", "shown",
          "10b: What a loss costs", note="VGG16 up to relu3_3 in the place of VGG19 up to conv3_4"),
    claim("untrained features are enough for a loss", "Section III-C", "waits", "menet/table-4-more"),
    claim("balance by gradients should be best in theory", "Section III-C", "shown",
          "11b: What the paper found, and what we find"),
    claim("five fixed crops and their mirror images make 18,000 patches", "Section IV-A", "partly",
          "10b: What text and code leave open",
          note="the count is our recipes' epoch; places and mirroring are drawn anew each time"),
    claim("subpixels lose nothing on the way down", "Section III-C", "shown", "10: Going down without losing a pixel"),
    claim("Algorithm 1: weights from gradients", "Section III-C", "code", "derainlib.losses.balance.GradientBalanced"),
    claim("Algorithm 2: weights from losses", "Section III-C", "code", "derainlib.losses.balance.LossBalanced"),
)  # fmt: skip
