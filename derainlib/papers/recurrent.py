"""The tables of SRN and BRN (Ren et al., "Single Image Deraining Using Bilateral Recurrent Network"), and the set-ups.

Tables are named by the network that they are about; Table I has a part for each. The authors' scripts score the
luminance Y of results cut to 8 bits, SSIM after downsampling (`derainlib.metrics`); the text does not say so. It says
T = 6 for everything but Fig. 6, while the authors' scripts and public weights of BRN have T = 8.
"""

from derainlib.papers.item import COMPARED, claim, equation, figure
from derainlib.papers.table import QUALITY, Row, Table, on
from derainlib.recipe import Loss, Recipe


def _ren(name: str, source: str, model: str, batch: int, epochs=100, **changes) -> Recipe:
    """A recipe of Ren et al., Section IV: Adam 1e-3, times 0.2 at epochs 30, 50 and 80 of 100, patches of 100².

    The paper does not say how the patches are cut, so how long an epoch is stays open. At a stride of 80, that of the
    authors' scripts of PReNet, the 1,254 images give 15 patches each, 18,810 an epoch: so it is here, for both. Their
    scripts of BRN have a stride of 100, which gives 12 each, 15,048 an epoch, and 125,400 steps in the place of our
    156,750; beside their rate of 1e-3 stands the remark that Rain100H had 5e-4. Here places and mirroring are drawn
    anew each time. For the light sets no recipe has a schedule of its own.
    """
    return Recipe(name, source, model, batch=batch, steps=epochs * 18_810 // batch, paired=1.0, **changes)


_RECURSIVE = {"stages": "all", "early": 0.5, "last": 1.5}
_REC_BRN = (
    Loss("ssim", 0.45, _RECURSIVE | {"on": "rain"}),
    Loss("ssim", 0.55, _RECURSIVE | {"on": "background"}),
)

_SRN = _ren("srn", "Table II, SRN: residual mapping, single SSIM loss", "srn", 18)
_SRN_LSTM = _ren("srn/SSIM", "Table I(a), SRN-SSIM (Table II, SRN-LSTM; Table IV, SRN)", "srn-direct", 18)
_BRN = _ren("brn", "Tables I(b), III, IV and V, BRN: single SSIM loss", "brn", 12)


def _plain(name: str, model: str) -> Recipe:
    """A network of one stage that is as deep as SRN is with six: 77 convolutions behind each other."""
    source = "beside Section III-A, one stage of 37 blocks"
    return _ren(name, source, model, 18, options={"stages": 1, "blocks": 37})


def _stages(name: str, model: str, batch: int) -> Table:
    """One network's half of Fig. 6."""
    return Table(
        f"{name}/figure-6", f"{name.upper()}, Fig. 6: the number of stages", "T = 6",
        tuple(
            Row(f"T = {t}", _ren(f"{name}/T{t}", f"Fig. 6, T = {t}", model, batch, options={"stages": t}))
            for t in range(1, 10)
        ),
        data=_ABLATION, protocol=_PROTOCOL,
        note="our text has no figures; it says that scores rise up to T = 6, and are lower or no better beyond",
    )  # fmt: skip


_heavy = on("Rain100H")
_sized = on("Rain100H", measures=(*QUALITY, "parameters"))
_three = on("Rain100H", "Rain100L", "Rain12")
_new = on("RainHeavy*", "RainLight*")
_timed = on("512x512", "1024x1024", measures=("seconds",))
_ABLATION = (
    "Rain100H in its first form, 100 pictures to test; trained on 1,254 of its 1,800 pairs, those whose background no "
    "test picture has"
)
_PROTOCOL = "PSNR and SSIM; the text names no colour space"

TABLES = (
    Table(
        "srn/table-1", "SRN, Table I(a): the loss", "SRN-SSIM",
        (
            Row("SRN-MSE", _ren("srn/MSE", "Table I(a), SRN-MSE", "srn-direct", 18, losses=(Loss("mse"),)),
                _heavy(29.08, 0.880)),
            Row("SRN-SSIM", _SRN_LSTM, _heavy(29.32, 0.898)),
            Row(
                "SRN-RecSSIM",
                _ren(
                    "srn/RecSSIM", "Table I(a), SRN-RecSSIM", "srn-direct", 18, losses=(Loss("ssim", 1.0, _RECURSIVE),)
                ),
                _heavy(29.12, 0.895),
            ),
        ),
        data=_ABLATION, protocol=_PROTOCOL, stages=6,
    ),
    Table(
        "srn/table-2", "SRN, Table II: recurrent layer, input, and mapping", "SRN-LSTM",
        (
            Row("SRN_x", _ren("srn-x", "Table II, SRN_x", "srn-x", 18), _heavy(28.91, 0.895)),
            Row("SRN-LSTM", _SRN_LSTM, _heavy(29.32, 0.898)),
            Row("SRN-GRU", _ren("srn-gru", "Table II, SRN-GRU", "srn-gru", 18), _heavy(29.08, 0.896)),
            Row("SRN", _SRN, _heavy(29.46, 0.899)),
        ),
        data=_ABLATION, protocol=_PROTOCOL, stages=6,
    ),
    Table(
        "brn/table-1", "BRN, Table I(b): the loss", "BRN-SSIM",
        (
            Row("BRN-MSE", _ren("brn/MSE", "Table I(b), BRN-MSE", "brn", 12, losses=(Loss("mse"),)),
                _heavy(29.40, 0.885)),
            Row("BRN-SSIM", _ren("brn/SSIM", "Table I(b), BRN-SSIM", "brn", 12), _heavy(30.47, 0.913)),
            Row("BRN-RecSSIM", _ren("brn/RecSSIM", "Table I(b), BRN-RecSSIM", "brn", 12, losses=_REC_BRN),
                _heavy(30.31, 0.908)),
        ),
        data=_ABLATION, protocol=_PROTOCOL, stages=6,
    ),
    Table(
        "brn/table-3", "BRN, Table III: the exchange between the branches", "BRN",
        (
            Row("CRN", _ren("crn", "Table III, CRN", "crn", 12), _heavy(30.04, 0.909)),
            Row("BRN x→r", _ren("brn-x2r", "Table III, BRN x→r", "brn-x2r", 12), _heavy(30.22, 0.910)),
            Row("BRN r→x", _ren("brn-r2x", "Table III, BRN r→x", "brn-r2x", 12), _heavy(30.01, 0.908)),
            Row("BRN", _BRN, _heavy(30.47, 0.913)),
        ),
        data=_ABLATION, protocol=_PROTOCOL, stages=6,
    ),
    Table(
        "brn/table-4", "BRN, Table IV: one or two branches, LSTM or GRU", "BRN",
        (
            Row("SRN", _SRN_LSTM, _sized(29.32, 0.898, 168_963)),
            Row("SRN+", _ren("srn+", "Table IV, SRN+", "srn+", 18), _sized(29.99, 0.906, 409_411)),
            Row("BRN-GRU", _ren("brn-gru", "Table IV, BRN-GRU", "brn-gru", 12), _sized(30.08, 0.908, 320_166)),
            Row("BRN", _BRN, _sized(30.47, 0.913, 375_526)),
        ),
        data=_ABLATION, protocol=_PROTOCOL, stages=6,
    ),
    Table(
        "srn/plain", "SRN, beside Section III-A: plain or recurrent, direct or residual", "recurrent, direct",
        (
            Row("plain, direct", _plain("srn/plain-direct", "srn-direct")),
            Row("plain, residual", _plain("srn/plain", "srn")),
            Row("recurrent, direct", _SRN_LSTM),
            Row("recurrent, residual", _SRN),
        ),
        note="plain is one stage of as many convolutions as six have, 37 blocks for 5, and has 4.5 times the weights",
        ours=True,
    ),
    Table(
        "brn/table-5", "BRN, Table V: other methods", "",
        (
            Row("GMM", None, _three(15.05, 0.425, 28.66, 0.865, 32.02, 0.855)),
            Row("DDN", None, _three(21.92, 0.764, 32.16, 0.936, 31.78, 0.900)),
            Row("ResGuideNet", None, _three(25.25, 0.841, 33.16, 0.963, 29.45, 0.938), note="its own paper's figures"),
            Row("JORDER", None, _three(26.54, 0.835, 36.61, 0.974, 33.92, 0.953), note="on its authors' pictures"),
            Row("RESCAN", None, _three(28.64, 0.864, None, None, None, None), note="trained on the 1,254 pairs"),
            Row("SIRR", None, _three(22.47, 0.716, 32.37, 0.926, 34.02, 0.935), note="its authors' weights"),
            Row(
                "BRN", _BRN, _three(30.47, 0.913, 38.16, 0.982, 36.74, 0.959),
                note="the authors' public weights reach the figures of Rain100L at T = 8, not at 6",
            ),
        ),
        data="heavy rain: Rain100H as in Tables I to IV; light rain: trained and tested on Rain100L, the same weights "
        "tested on Rain12",
        protocol=_PROTOCOL, stages=6, measured="authors_weights",
    ),
    Table(
        "brn/table-6", "BRN, Table VI: Rain1400", "",
        (
            Row("DDN", None, on("Rain1400")(29.91, 0.910)),
            Row("SIRR", None, on("Rain1400")(28.44, 0.889)),
            Row("BRN", _BRN, on("Rain1400")(32.75, 0.948)),
        ),
        data="Rain1400, 12,600 pairs to train and 1,400 to test", protocol=_PROTOCOL, stages=6,
    ),
    Table(
        "brn/table-7", "BRN, Table VII: Rain100H and Rain100L in their second form", "",
        (
            Row("DDN", None, _new(22.03, 0.713, 31.66, 0.922)),
            Row("RESCAN", None, _new(28.02, 0.862, 38.43, 0.982)),
            Row("SIRR", None, _new(22.17, 0.719, 32.20, 0.929)),
            Row("SPANet", None, _new(26.59, 0.869, 36.13, 0.975)),
            Row("PReNet", None, _new(29.36, 0.903, 37.93, 0.983)),
            Row("JORDER-E", None, _new(29.21, 0.891, 39.13, 0.985)),
            Row("BRN", _BRN, _new(30.27, 0.917, 38.86, 0.985)),
        ),
        data="RainHeavy* and RainLight*, each 1,800 pairs to train and 200 to test; all networks trained again",
        protocol=_PROTOCOL, stages=6,
    ),
    Table(
        "brn/table-8", "BRN, Table VIII: real rain", "",
        (
            Row("DDN", None, on("SPAData")(34.80, 0.936)),
            Row("RESCAN", None, on("SPAData")(34.73, 0.937)),
            Row("SIRR", None, on("SPAData")(34.84, 0.936), note="tuned on photographs of real rain"),
            Row("SPANet", None, on("SPAData")(35.26, 0.945)),
            Row("PReNet", None, on("SPAData")(35.00, 0.941)),
            Row("JORDER-E", None, on("SPAData")(34.13, 0.934)),
            Row("BRN", _BRN, on("SPAData")(35.34, 0.945)),
        ),
        data="trained on RainLight*, tested on the 1,000 pairs of SPAData, made of videos of real rain",
        protocol=_PROTOCOL, stages=6,
    ),
    Table(
        "brn/table-9", "BRN, Table IX: running time", "",
        (
            Row("DDN", None, _timed(1.80, 2.78)),
            Row("RESCAN", None, _timed(1.03, 3.79)),
            Row("SIRR", None, _timed(1.81, 2.75)),
            Row("SPANet", None, _timed(2.28, 10.38)),
            Row("PReNet", None, _timed(0.17, 0.62)),
            Row("JORDER-E", None, _timed(0.53, 2.15)),
            Row("BRN", _BRN, _timed(0.40, 1.49)),
        ),
        protocol="seconds a picture on one NVIDIA GTX 1080 Ti", stages=6, measured="recurrent_speed",
    ),
    _stages("srn", "srn-direct", 18),
    _stages("brn", "brn", 12),
)  # fmt: skip

_NET, _TERMS = "models/test_recurrent.py", "losses/test_terms.py"

EQUATIONS = (
    equation("1", "a stage reads the photograph and the last result", "models.recurrent.SRN",
             f"{_NET}::test_equations",
             f"{_NET}::test_residual_form_is_the_direct_form_plus_the_rainy_image"),
    equation("2", "a stage: input layer, recurrent layer, blocks and output layer", "models.recurrent.Branch",
             f"{_NET}::test_equations"),
    equation("3", "the ConvLSTM", "models.recurrent.ConvLSTM",
             f"{_NET}::test_equations", f"{_NET}::test_a_single_gate_by_hand"),
    equation("4", "residual mapping: the network gives the rain", "models.recurrent.SRN",
             f"{_NET}::test_residual_form_is_the_direct_form_plus_the_rainy_image"),
    equation("5", "two branches, the second reads the first's rain", "models.recurrent.BRN",
             f"{_NET}::test_equations"),
    equation("6", "the rain branch's LSTM reads the background's state of the stage before",
             ("models.recurrent.BRN", "models.recurrent.ConvLSTM"), f"{_NET}::test_equations",
             f"{_NET}::test_exchange_opens_and_blocks_the_path_between_branches"),
    equation("7", "the background branch's LSTM reads the rain's state of this stage",
             ("models.recurrent.BRN", "models.recurrent.ConvLSTM"), f"{_NET}::test_equations",
             f"{_NET}::test_exchange_opens_and_blocks_the_path_between_branches"),
    equation("8", "both branches with their states", "models.recurrent.BRN", f"{_NET}::test_equations"),
    equation("9", "a loss on every stage", "losses.term.Term", f"{_TERMS}::test_recursive_supervision_is_eq_9"),
    equation("10", "the same on the background", "losses.term.Term",
             f"{_TERMS}::test_recursive_supervision_is_eq_9"),
    equation("11", "the same on the rain", "losses.term.Term",
             f"{_TERMS}::test_terms_on_rain_compare_with_rainy_minus_clean"),
    equation("12", "both of them, weighted", "losses.balance.Fixed",
             f"{_TERMS}::test_weighted_rain_and_background_are_eq_12"),
    equation("13", "a loss on the last stage alone", "losses.term.Term",
             f"{_TERMS}::test_each_stage_counts_as_it_would_alone"),
    equation("14", "negative SSIM", "losses.NegativeSSIM", f"{_TERMS}::test_negative_ssim_is_eq_14"),
    equation("15", "the squared error", "losses.MSE", f"{_TERMS}::test_mse_is_eq_15_per_value"),
)  # fmt: skip

FIGURES = (
    figure(1, "results of the stages", "partly", "07: Watch the stages",
           note="without RESCAN's, whose weights are not here"),
    figure(2, "SRN", "shown", "derainlib.lab.diagram.trace", "07: One network, many times"),
    figure(3, "BRN", "shown", "derainlib.lab.diagram.trace", "07: Two branches that talk"),
    figure(4, "the bilateral LSTMs", "shown", "07: Two branches that talk"),
    figure(5, "results of Table III's rows", "shown", "07: Tables I and III, again"),
    figure(6, "scores over the number of stages", "partly", "07: How many stages? Two questions",
           note="a miniature; the studies srn/figure-6 and brn/figure-6 have T = 1 to 9"),
    figure(7, "results of Table IV's rows", "waits", note="pictures come with the weights of the study brn/table-4"),
    figure(8, "the rain that BRN and RESCAN extract", "partly", "07: What leaks into the rain",
           note="of SRN and BRN; RESCAN's weights are not here"),
    figure(9, "other methods on RainHeavy*", "impossible", note=COMPARED),
    figure(10, "other methods on Rain1400", "impossible", note=COMPARED),
    figure(11, "other methods on SPAData", "impossible", note=COMPARED),
)  # fmt: skip

CLAIMS = (
    claim("a plain deep network cannot predict the scene directly, a recurrent one can", "Section III-A", "waits",
          "srn/plain", note="the study has T = 1 with as many layers beside T = 6"),
    claim("one SSIM loss is enough for training", "Section III-D", "partly", "07: Tables I and III, again",
          note="it beats MSE in the study brn/table-1, at a small budget; our weights have a pixel loss beside it"),
    claim("more than six stages are no better", "Section IV-A5", "partly", "07: How many stages? Two questions",
          note="the authors' public weights of BRN have eight"),
    claim("messages from rain to background alone are worse than none", "Section IV-A3", "partly",
          "07: Tables I and III, again", note="so it is in the study brn/table-3, of one seed; CRN beats BRN there"),
    claim("SRN+ with more parameters than BRN is worse", "Section IV-A4", "waits", "brn/table-4"),
)  # fmt: skip
