"""The tables of QSNet (Wang, Ma and Zeng, CVPR 2021), and the set-ups behind their rows.

PSNR and SSIM are reported without a colour space or a protocol. In its tables the paper calls other methods by number;
here they have the names that their authors gave them.
"""

from derainlib.papers.item import COMPARED, claim, equation, figure
from derainlib.papers.table import Row, Table, on
from derainlib.recipe import Loss, Recipe


def _qsnet(name: str, source: str, terms: str, model: str = "qsnet", **changes) -> Recipe:
    """A recipe of QSNet, Section 5.1: Adam 1e-3, times 0.1 when the loss stops improving, patches of 256².

    The paper states neither the batch, nor the length, nor when the loss counts as no longer improving. Our choices:
    16 patches, 100,000 steps, ten windows of 1,000 steps without a lower mean; an "epoch" is such a window.

    Args:
        name, source, model, changes: fields of the recipe.
        terms: which terms of Eq. 13, by the letters of their symbols; small ones for another reading of their λ.
    """
    return Recipe(
        name, source, model, losses=tuple(_EQ_13[term] for term in terms), steps=100_000, batch=16, patch=256,
        paired=1.0, schedule="plateau", gamma=0.1, window=1000, patience=10, samples_per_epoch=16_000, **changes,
    )  # fmt: skip


_EQ_13 = {
    "C": Loss("l1", 1.0),
    "Q": Loss("quasi_sparsity", 1e-3),
    "D": Loss("detail", 1e-4),
    "A": Loss("auxiliary", 0.01),
    "d": Loss("detail", 20.0),
    "a": Loss("auxiliary", 2.55),
}
"""λ L of QSNet's Eq. 13, by the index of L. All terms share one normaliser, so the λ are the paper's as they stand.

Small letters are other readings. With images in 0..255 an absolute error is 255 times ours and a squared one 255²
times, so that beside L_C a λ_A of 0.01 is 2.55 here. If L_D alone is a sum as printed, over the 3 · 256² values of a
patch, its 1e-4 is about 20 here.
"""

_OURS = _qsnet("qsnet", "Tables 1, 2, 4 and 5, QSNet (V4)", "CQDA")
_V4 = _qsnet("qsnet/V4", "Table 4, V4: L_C + L_Q + L_D + L_A", "CQDA")
_NO_SHARING = _qsnet("qsnet/no-sharing", "Tables 2 and 5, QSNet without sharing", "CQDA", "qsnet-no-sharing")

_DETACHED = {"options": {"detached": True}}

_sets = on("Test-I", "Test-II", "Test-III")
_timed = on("512x512", measures=("seconds",))
_WHOLE = _sets(33.15, 0.923, 25.66, 0.830, 33.94, 0.938)
_DATA = (
    "trained on the pairs of S. Li et al. 2018 (DDC-Net). Test-I: 100 pairs of each of the test sets of DID-MDN, "
    "ID-CGAN and DDN; Test-II: Rain100H; Test-III: 400 pairs of wide streaks with blurred edges"
)

TABLES = (
    Table(
        "qsnet/table-1", "QSNet, Table 1: other networks", "",
        (
            Row("DDN", None, _sets(29.14, 0.869, 22.17, 0.732, 29.98, 0.897)),
            Row("RESCAN", None, _sets(27.21, 0.835, 24.29, 0.821, 26.77, 0.832)),
            Row("DID-MDN", None, _sets(25.98, 0.869, 20.13, 0.716, 25.53, 0.877)),
            Row("JORDER-E", None, _sets(27.44, 0.885, 20.46, 0.678, 29.87, 0.890)),
            Row("HeavyRain", None, _sets(17.93, 0.677, 16.96, 0.464, 18.04, 0.610)),
            Row("SPANet", None, _sets(28.47, 0.858, 18.60, 0.623, 30.55, 0.908)),
            Row("ours", _OURS, _WHOLE),
        ),
        data=_DATA,
        note="whether the other networks were trained on the same pairs is not said",
    ),
    Table(
        "qsnet/table-2", "QSNet, Table 2: running time", "",
        (
            Row("DDN", None, _timed(0.09)),
            Row("RESCAN", None, _timed(0.47)),
            Row("DID-MDN", None, _timed(0.06)),
            Row("JORDER-E", None, _timed(1.39)),
            Row("HeavyRain", None, _timed(0.45)),
            Row("SPANet", None, _timed(0.66)),
            Row("without sharing", _NO_SHARING, _timed(0.007)),
            Row("ours", _OURS, _timed(0.005)),
        ),
        protocol="seconds a picture, all on the same GPU; the paper's is an NVIDIA GTX 1080 Ti",
        measured="network_speed",
    ),
    Table(
        "qsnet/table-3", "QSNet, Table 3: pictures decoded from each scale", "",
        (
            Row("C1", None, _sets(31.68, 0.902, 23.86, 0.738, 31.80, 0.909)),
            Row("C2", None, _sets(32.14, 0.907, 24.85, 0.749, 32.56, 0.911)),
            Row("C3", None, _sets(32.18, 0.902, 24.91, 0.774, 32.67, 0.920)),
            Row("C4", None, _sets(30.75, 0.862, 23.86, 0.687, 31.48, 0.871)),
            Row("C5", None, _sets(30.69, 0.870, 22.66, 0.669, 31.16, 0.877)),
            Row("all scales", _OURS, _WHOLE),
        ),
        data=_DATA,
        note="whether C1 … C5 are the five decoders of one network, or a network each, is not said",
        measured="qsnet_tables",
    ),
    Table(
        "qsnet/table-4", "QSNet, Table 4: the terms of the loss", "L_C",
        (
            Row(
                "L_C", _qsnet("qsnet/V1", "Table 4, V1: L_C", "C"),
                _sets(29.94, 0.858, 24.75, 0.716, 31.19, 0.883),
            ),
            Row(
                "+ L_Q", _qsnet("qsnet/V2", "Table 4, V2: L_C + L_Q", "CQ"),
                _sets(31.70, 0.898, 25.21, 0.773, 32.61, 0.913),
            ),
            Row(
                "+ L_D", _qsnet("qsnet/V3", "Table 4, V3: L_C + L_Q + L_D", "CQD"),
                _sets(32.03, 0.908, 25.55, 0.791, 32.91, 0.921),
            ),
            Row("+ L_A", _V4, _WHOLE),
        ),
        data=_DATA,
        note="V1 to V3 keep the auxiliary decoders, whose images the main decoder reads: losses differ, not layers",
    ),
    Table(
        "qsnet/table-5", "QSNet, Table 5: sharing of information", "with sharing",
        (
            Row("without sharing", _NO_SHARING, _sets(31.91, 0.897, 25.53, 0.799, 32.64, 0.907)),
            Row("with sharing", _OURS, _WHOLE),
        ),
        data=_DATA,
    ),
    Table(
        "qsnet/table-3-more", "QSNet, beside Table 3: a network for each scale", "all scales",
        (
            *(
                Row(
                    f"C{i} alone",
                    _qsnet(f"qsnet/C{i}", f"beside Table 3, C{i} alone", "CQDA", options={"rates": [rate]}),
                )
                for i, rate in enumerate((0, 1, 2, 4, 6), 1)
            ),
            Row("all scales", _OURS),
        ),
        note="the other reading of Table 3: encoder, one scale and both decoders, trained by themselves",
        ours=True,
    ),
    Table(
        "qsnet/table-4-more", "QSNet, beside Table 4: other readings of λ", "+ L_A",
        (
            Row("+ L_A", _V4),
            Row("L_A at 2.55", _qsnet("qsnet/V4-auxiliary-2.55", "beside Table 4, V4 with λ_A = 2.55", "CQDa")),
            Row("L_D at 20", _qsnet("qsnet/V4-detail-20", "beside Table 4, V4 with λ_D = 20", "CQdA")),
            Row(
                "detached",
                _qsnet("qsnet/V4-detached", "beside Table 4, V4, decoded images detached", "CQDA", **_DETACHED),
            ),
            Row(
                "L_A at 2.55, detached",
                _qsnet(
                    "qsnet/V4-auxiliary-2.55-detached", "beside Table 4, V4 with λ_A = 2.55, decoded images detached",
                    "CQDa", **_DETACHED,
                ),
            ),
        ),
        note=(
            "L_A as a mean over images in 0..255, or L_D as a sum over a patch; detached, the main decoder sends no "
            "gradient into the decoded images, which tells an L_A that is too quiet from images that it takes over"
        ),
        ours=True,
    ),
    Table(
        "qsnet/table-5-more", "QSNet, beside Table 5: readings of sharing", "with sharing",
        (
            Row("no exchange in decoders", _NO_SHARING),
            Row(
                "no exchange anywhere",
                _qsnet(
                    "qsnet/no-exchange", "beside Table 5, no shuffle anywhere", "CQDA", "qsnet-no-sharing",
                    options={"encoder_sharing": False},
                ),
            ),
            Row(
                "ordinary convolutions",
                _qsnet(
                    "qsnet/ungrouped", "beside Table 5, scales and decoders without groups", "CQDA",
                    options={"grouped": False},
                ),
            ),
            Row("with sharing", _OURS),
        ),
        note="what 'without' removes is not said; ordinary convolutions are slower, as in Table 2, with more weights",
        ours=True,
    ),
)  # fmt: skip

OTHERS = (_qsnet("qsnet/no-auxiliary", "no row: V3 without the auxiliary decoders", "CQD", "qsnet-no-auxiliary"),)
"""Set-ups that no row stands for."""

_SPARSITY, _LOSSES, _NET = "test_sparsity.py", "losses/test_qsnet_losses.py", "models/test_qsnet.py"

EQUATIONS = (
    equation("1", "two Laplacians of different width", "sparsity.laplacian_mixture",
             f"{_SPARSITY}::test_eq_1_is_a_mixture_of_scipys_laplacians"),
    equation("2", "one Laplacian, the border of the sparse", "sparsity.quasi_sparse",
             f"{_SPARSITY}::test_eq_2_is_scipys_laplacian"),
    equation("3", "the prior of an image: a product over filters and pixels", "sparsity.log_prior",
             f"{_SPARSITY}::test_eq_3_multiplies_over_filters_and_pixels"),
    equation("4", "the network gives the rain", "models.qsnet.QSNet",
             f"{_NET}::test_layers_add_up_and_extras_are_decodings"),
    equation("5", "the background is what is left", "models.qsnet.QSNet",
             f"{_NET}::test_layers_add_up_and_extras_are_decodings"),
    equation("6", "both layers independent: their priors multiply", ("sparsity.log_prior", "losses.QuasiSparsity"),
             f"{_LOSSES}::test_each_term_is_its_printed_sum"),
    equation("7", "the logarithm of Eq. 6", ("sparsity.log_prior", "losses.QuasiSparsity"),
             f"{_LOSSES}::test_each_term_is_its_printed_sum"),
    equation("8", "quasi-sparsity of one image", "losses.QuasiSparsity",
             f"{_LOSSES}::test_each_term_is_its_printed_sum",
             f"{_LOSSES}::test_quasi_sparsity_of_a_single_bright_pixel"),
    equation("9", "L_Q, the same over the training set", "losses.QuasiSparsity",
             f"{_LOSSES}::test_each_term_is_its_printed_sum"),
    equation("10", "L_C, the absolute error", "losses.L1", f"{_LOSSES}::test_each_term_is_its_printed_sum"),
    equation("11", "L_D, no rain where it does not rain", "losses.Detail",
             f"{_LOSSES}::test_each_term_is_its_printed_sum", f"{_LOSSES}::test_detail_is_blind_where_it_rains",
             note="L is the truth's here, from the streaks as drawn; the paper's is another network's, JORDER's"),
    equation("12", "L_A, the squared error of every decoder", "losses.Auxiliary",
             f"{_LOSSES}::test_each_term_is_its_printed_sum",
             note="O − A_i + B as printed; as a mean of images in 0..255 its weight would be 2.55 in [0, 1]"),
    equation("13", "the weighted sum", ("papers.qsnet.TABLES", "losses.balance.Fixed"),
             f"{_LOSSES}::test_the_weighted_sum_is_eq_13"),
)  # fmt: skip

FIGURES = (
    figure(1, "a photograph, its two layers, and the log-histograms of all three", "shown",
           "05b: Are the results sparse?"),
    figure(2, "a sparse log-histogram, some that are not, and those of well-known densities", "shown",
           "03: The line", "03: When is a photograph not sparse?"),
    figure(3, "the network", "shown", "derainlib.lab.diagram.trace", "05: The encoder"),
    figure(4, "the decoders", "shown", "derainlib.lab.diagram.trace", "05: A picture from every scale"),
    figure(5, "horizontal gradients of a photograph and its layers", "shown", "04: From a prior to a loss"),
    figure(6, "other methods on drawn rain", "impossible", note=COMPARED),
    figure(7, "other methods on photographs", "impossible", note=COMPARED),
    figure(8, "pictures decoded from each scale", "shown", "05: A picture from every scale"),
    figure(9, "log-histograms of results on photographs", "shown", "05b: Are the results sparse?"),
    figure(10, "results of V1 to V4 and their rain", "partly", "05b: What is each loss worth?",
           note="V1 and V4 alone; V2 and V3 wait for the study qsnet/table-4"),
    figure(11, "results with and without sharing", "shown", "05b: Black blocks"),
)  # fmt: skip

CLAIMS = (
    claim("93.7 % of 10,000 rainy photographs are sparse", "Section 3.1", "shown",
          "03: The experiment of section 3.1", "03: On research sets", note="on our photographs, with our criterion"),
    claim("most streaks are 3 to 5 pixels wide, since C2 and C3 decode best alone", "Section 5.6", "partly",
          "05: Table 3", "qsnet/table-3-more", note="the order of the scales depends on the weight of L_A"),
    claim("sharing makes the network quicker", "Sections 5.5, 5.9", "partly", "05: How fast?",
          note="only true where 'without' means ordinary convolutions"),
    claim("without sharing, black blocks may appear", "Section 5.9", "shown", "05b: Black blocks"),
)  # fmt: skip
