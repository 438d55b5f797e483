"""Algorithms 1 and 2 of MENET, and uncertainty weights, against numbers worked by hand and against the plain way."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from derainlib import models
from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses import (
    L1,
    MSE,
    Auxiliary,
    Charbonnier,
    Colour,
    Edge,
    Fixed,
    GradientBalanced,
    LossBalanced,
    NegativePSNR,
    NegativeSSIM,
    QuasiSparsity,
    Semantic,
    Texture,
    Uncertainty,
)
from derainlib.losses.balance import PrintedLossBalanced, balanced


class Constant(nn.Module):
    """A loss of a given value, which every value of the background changes alike: by the slope, as large as the value
    unless told otherwise, over the number of values."""

    def __init__(self, value: float, slope: float | None = None):
        super().__init__()
        self.value, self.slope = value, value if slope is None else slope

    def forward(self, layers, pair):
        mean = layers.background.mean()
        return self.value + self.slope * (mean - mean.detach())


class Linear(nn.Module):
    """B̂ = W ∗ O at every pixel: the hand-made network, one layer that all tasks share."""

    def __init__(self, matrix: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(matrix.clone())

    def forward(self, rainy):
        background = torch.einsum("oc,nchw->nohw", self.weight, rainy)
        return Layers(background, rainy - background)


def photograph(value, size=(1, 3, 4, 4)) -> torch.Tensor:
    return torch.full(size, float(value), requires_grad=True)


def constants(*values: float) -> dict[str, nn.Module]:
    return {f"task_{i}": Constant(value) for i, value in enumerate(values)}


def ones(terms: dict) -> dict[str, float]:
    return dict.fromkeys(terms, 1.0)


PAIR = Pair(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))


def call(balance, background=None):
    background = photograph(0.5) if background is None else background
    total, values = balance(Layers(background, -background), PAIR)
    return total, values, {name: weight.item() for name, weight in balance.latest.items()}


# --- weights from numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        ((3, 1, 4), (5 / 8, 7 / 8, 4 / 8)),
        ((2, 6), (3 / 4, 1 / 4)),
        ((7,), (1,)),
        ((0,), (1,)),
        ((0, 0), (1 / 2, 1 / 2)),
        ((0, 0, 0, 0), (3 / 4,) * 4),
        ((0, 5), (1, 0)),
        ((1, 1e8), (1, 1e-8)),
        ((1e-30, 1e-22), (1, 1e-8)),
        ((2e38, 2e38, 2e38), (2 / 3,) * 3),
    ],
)
def test_weights_are_one_less_the_share(values, weights):
    found = balanced(torch.tensor(values, dtype=torch.float32))
    assert found.tolist() == pytest.approx(weights, rel=1e-6)
    assert found.sum().item() == pytest.approx(len(values) - 1 or 1, rel=1e-6)


def test_as_printed_the_weight_would_be_lost():
    losses = torch.tensor([1.0, 1e8])
    assert (1 - losses / losses.sum())[1] == 0
    assert balanced(losses)[1].item() == pytest.approx(1e-8, rel=1e-6)


def test_no_number_stays_no_number():
    assert balanced(torch.tensor([1.0, math.nan])).isnan().any()


# --- LB ---------------------------------------------------------------------------------------------------------------


def test_loss_balance_by_hand():
    """Losses 3, 1, 4: their shares are 3/8, 1/8, 4/8."""
    terms = constants(3, 1, 4)
    total, values, weights = call(LossBalanced(terms, ones(terms)))
    assert weights == pytest.approx({"task_0": 5 / 8, "task_1": 7 / 8, "task_2": 4 / 8})
    assert total.item() == pytest.approx(3 * 5 / 8 + 1 * 7 / 8 + 4 * 4 / 8)
    assert {name: value.item() for name, value in values.items()} == {"task_0": 3, "task_1": 1, "task_2": 4}


def test_loss_balance_weighs_what_the_fixed_weights_leave():
    """λ L is 6 and 2, so the weights are 1/4 and 3/4, and the sum 6/4 + 6/4."""
    terms = constants(3, 4)
    total, values, weights = call(LossBalanced(terms, {"task_0": 2.0, "task_1": 0.5}))
    assert weights == pytest.approx({"task_0": 1 / 4, "task_1": 3 / 4})
    assert total.item() == pytest.approx(3)
    assert values["task_0"].item() == 3


def test_loss_balance_is_constant_in_the_backward_pass():
    """∂L/∂B̂ is Σ w ∂L_i/∂B̂ with the weights 3/4 and 1/4 as they are. The slopes differ from the values: where they
    are the same, weights that were differentiated too would go unnoticed, for L grows as the losses do together."""
    terms, background = {"task_0": Constant(1, slope=5), "task_1": Constant(3, slope=-2)}, photograph(0.5)
    total, _, _ = call(LossBalanced(terms, ones(terms)), background)
    total.backward()
    torch.testing.assert_close(background.grad, torch.full((1, 3, 4, 4), (5 * 3 / 4 - 2 * 1 / 4) / 48))


def test_as_printed_a_giant_is_silent():
    """Beside 1 and 2, 5 has the same weight in both; 1e9 has none as printed, and 3e-9 in truth."""
    for giant, printed, exact in ((5, 3 / 8, 3 / 8), (1e9, 0, 3e-9)):
        terms = constants(1, 2, giant)
        for scheme, weight in ((PrintedLossBalanced, printed), (LossBalanced, exact)):
            total, _, weights = call(scheme(terms, ones(terms)))
            assert weights["task_2"] == pytest.approx(weight, rel=1e-6, abs=0)
            assert total.item() == pytest.approx(sum(w * terms[name].value for name, w in weights.items()))


@pytest.mark.parametrize("power", range(-12, 13, 4))
def test_a_rescaled_loss_is_balanced_again(power):
    """However large one loss gets, what is left of it is about the others' sum, and they keep their weights."""
    terms = constants(10.0**power, 2.0, 3.0)
    total, _, weights = call(LossBalanced(terms, ones(terms)))
    share = 10.0**power / (10.0**power + 5)
    assert weights["task_0"] == pytest.approx(5 / (10.0**power + 5), rel=1e-5)
    assert weights["task_0"] * 10.0**power == pytest.approx(5 * share, rel=1e-5)
    assert weights["task_1"] == pytest.approx((10.0**power + 3) / (10.0**power + 5), rel=1e-5)
    assert total.item() <= 10.001


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_losses_are_found_in_float32(dtype):
    terms = constants(3, 4)
    total, _, weights = call(LossBalanced(terms, ones(terms)), photograph(0.5).to(dtype))
    assert weights == pytest.approx({"task_0": 4 / 7, "task_1": 3 / 7}, rel=1e-6)
    assert total.item() == pytest.approx(24 / 7, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_all_losses_rescaled_keep_their_weights(scale):
    terms = constants(3 * scale, 1 * scale)
    assert call(LossBalanced(terms, ones(terms)))[2] == pytest.approx({"task_0": 1 / 4, "task_1": 3 / 4})


@pytest.mark.parametrize("scheme", [LossBalanced, Uncertainty])
@pytest.mark.parametrize("term", [NegativeSSIM(), NegativePSNR()])
def test_losses_below_zero_are_refused_by_name(scheme, term):
    with pytest.raises(DerainError, match="similarity goes below zero"):
        scheme({"similarity": term, "mse": MSE()}, {"similarity": 1.0, "mse": 1.0})


@pytest.mark.parametrize("scheme", [LossBalanced, Uncertainty])
def test_a_loss_that_turns_out_negative_is_refused_by_name(scheme):
    terms = constants(1, -0.25)
    with pytest.raises(DerainError, match=r"task_1 is -0\.25"):
        call(scheme(terms, ones(terms)))
    with pytest.raises(DerainError, match="task_0 has the weight -1"):
        scheme(terms, {"task_0": -1.0, "task_1": 1.0})


@pytest.mark.parametrize("scheme", [LossBalanced, Uncertainty])
def test_rounding_below_zero_is_no_error(scheme):
    terms = constants(1, -1e-7)
    assert math.isfinite(call(scheme(terms, ones(terms)))[0].item())


def test_ssim_enters_as_one_less_ssim(generator):
    layers, pair = some_layers(generator)
    one_less, negative = NegativeSSIM(dissimilarity=True), NegativeSSIM()
    assert one_less(layers, pair).item() == pytest.approx(1 + negative(layers, pair).item())
    background = layers.background.clone().requires_grad_()
    gradients = [
        torch.autograd.grad(term(layers._replace(background=background), pair), background)[0]
        for term in (one_less, negative)
    ]
    torch.testing.assert_close(*gradients)
    LossBalanced({"ssim": one_less}, {"ssim": 1.0})(layers, pair)


# --- GB ---------------------------------------------------------------------------------------------------------------


def one_pixel() -> tuple[Linear, Pair]:
    """O = (1, 2, 2), W = 2·1, B = O: the estimate is off by (1, 2, 2), of norm 3, and so is O long."""
    rainy = torch.tensor([1.0, 2.0, 2.0]).view(1, 3, 1, 1)
    return Linear(2 * torch.eye(3)), Pair(rainy, rainy)


def test_gradient_balance_by_hand():
    """∇_W of the mean squared error is (2/3) e Oᵀ, of norm (2/3)·3·3 = 6; of the mean absolute error (1/3) sign(e) Oᵀ,
    of norm (1/3)·√3·3 = √3."""
    network, pair = one_pixel()
    balance = GradientBalanced({"mse": MSE(), "l1": L1()}, {"mse": 1.0, "l1": 1.0}, network.weight)
    total, values = balance(network(pair.rainy), pair)
    first, second = math.sqrt(3) / (6 + math.sqrt(3)), 6 / (6 + math.sqrt(3))
    assert balance.latest["mse"].item() == pytest.approx(first)
    assert balance.latest["l1"].item() == pytest.approx(second)
    assert (values["mse"].item(), values["l1"].item()) == pytest.approx((3, 5 / 3))
    assert total.item() == pytest.approx(3 * first + 5 / 3 * second)
    total.backward()
    error = rainy = torch.tensor([1.0, 2.0, 2.0])
    expected = first * 2 / 3 * torch.outer(error, rainy) + second / 3 * torch.outer(torch.ones(3), rainy)
    torch.testing.assert_close(network.weight.grad, expected)


@pytest.mark.parametrize("power", [-24, -20, -8, 0, 8, 16, 20])
def test_gradient_balance_of_a_rescaled_loss(power):
    """10^k times the squared error has 10^k times the norm: 6·10^k against √3."""
    network, pair = one_pixel()
    balance = GradientBalanced({"mse": MSE(), "l1": L1()}, {"mse": 10.0**power, "l1": 1.0}, network.weight)
    total, _ = balance(network(pair.rainy), pair)
    norms = 6 * 10.0**power, math.sqrt(3)
    assert balance.latest["mse"].item() == pytest.approx(norms[1] / sum(norms), rel=1e-5)
    assert balance.latest["l1"].item() == pytest.approx(norms[0] / sum(norms), rel=1e-5)
    total.backward()
    assert network.weight.grad.norm() < 2 * min(norms) + 1e-6


def test_gradient_balance_of_one_task_is_that_task():
    network, pair = one_pixel()
    total, _ = GradientBalanced({"mse": MSE()}, {"mse": 0.5}, network.weight)(network(pair.rainy), pair)
    assert total.item() == pytest.approx(1.5)
    (total / 4).backward()  # as where a batch is worked off in four portions
    assert network.weight.grad.norm().item() == pytest.approx(3 / 4)


def test_a_task_without_gradient_leaves_the_others_theirs():
    """What does not reach the shared layer weighs 1; of the two that do, each has the other's share."""
    network, pair = one_pixel()
    terms = {"mse": MSE(), "l1": L1(), "none": Constant(0.0)}
    balance = GradientBalanced(terms, ones(terms), network.weight)
    balance(network(pair.rainy), pair)
    found = [weight.item() for weight in balance.latest.values()]
    assert found == pytest.approx([math.sqrt(3) / (6 + math.sqrt(3)), 6 / (6 + math.sqrt(3)), 1])


def test_where_nothing_is_left_to_learn_all_weigh_the_same():
    network, pair = one_pixel()
    network = Linear(torch.eye(3))
    balance = GradientBalanced({"mse": MSE(), "l1": L1()}, {"mse": 1.0, "l1": 1.0}, network.weight)
    total, _ = balance(network(pair.rainy), pair)
    assert [weight.item() for weight in balance.latest.values()] == [0.5, 0.5]
    total.backward()
    assert network.weight.grad.abs().max() == 0


def some_layers(generator, size=(2, 3, 18, 20)) -> tuple[Layers, Pair]:
    rainy, clean, background = (torch.rand(size, generator=generator) for _ in range(3))
    return Layers(background, rainy - background), Pair(rainy, clean)


EVERYWHERE = {"last": MSE(), "rain": NegativeSSIM(on="rain"), "edges": QuasiSparsity()}
STREETS = {"coarse": Charbonnier(on="coarse", lowpass=5), "fine": Charbonnier(), "colour": Colour(), "own": Semantic()}
STAGES = {"all": MSE(stages="all"), "last": L1(), "rain": MSE(on="rain", stages="all", early=1.0, last=0.0)}


@pytest.mark.parametrize(
    ("model", "options", "terms"),
    [
        ("srn", {"stages": 2, "width": 4}, STAGES),
        ("brn", {"stages": 2, "width": 4}, STAGES),
        ("dcdnet", {"stages": 2, "width": 4}, STAGES),
        ("dcdnet", {"stages": 2, "width": 4, "checkpoint": True}, STAGES),
        ("qsnet", {"width": 8, "units": 2}, EVERYWHERE | {"scales": Auxiliary()}),
        ("phpnet-segmentation", {"width": 8, "k": 2}, STREETS),
        ("menet", {"width": 8, "blocks": 1}, {"mse": MSE(scale=255), "edge": Edge(), "texture": Texture()}),
    ],
)
def test_gradient_balance_is_the_plain_way_of_any_network(model, options, terms, generator):
    """Each task differentiated by itself, all the way through, with layers that depend on each other."""
    torch.manual_seed(0)
    network = models.create(model, **options)
    pair = some_layers(generator)[1]
    pair = pair._replace(labels=torch.randint(11, (2, 18, 20), generator=generator))
    weights = {name: 10.0**i for i, name in enumerate(terms)}
    balance = GradientBalanced(terms, weights, network.shared)
    total, _ = balance(network(pair.rainy, keep=True), pair)
    total.backward()
    found = {name: parameter.grad for name, parameter in network.named_parameters()}

    tasks = [weights[name] * term(network(pair.rainy, keep=True), pair) for name, term in terms.items()]
    norms = [torch.autograd.grad(task, network.shared, retain_graph=True)[0].norm().item() for task in tasks]
    assert min(norms) > 0, "every task reaches the shared layer"
    shares = [1 - norm / sum(norms) for norm in norms]
    assert [weight.item() for weight in balance.latest.values()] == pytest.approx(shares, rel=1e-4)
    plain = sum(share * task for share, task in zip(shares, tasks, strict=True))
    assert total.item() == pytest.approx(plain.item(), rel=1e-5)
    network.zero_grad()
    plain.backward()
    largest = max(parameter.grad.abs().max() for parameter in network.parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5 * largest.item())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 255.0**4])
def test_half_precision_finds_the_same_weights(dtype, scale, generator):
    """Also where the loss itself is nothing, or infinite, in half precision."""
    torch.manual_seed(0)
    network = models.create("qsnet", width=8, units=2)
    pair = some_layers(generator)[1]
    terms = {"mse": MSE(), "ssim": NegativeSSIM()}
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype, enabled=enabled):
            layers = network(pair.rainy, keep=True)
        balance = GradientBalanced(terms, {"mse": scale, "ssim": scale}, network.shared)
        balance(Layers(layers.background.float(), layers.rain.float()), pair)
        found.append([weight.item() for weight in balance.latest.values()])
    assert found[1] == pytest.approx(found[0], rel=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_outputs_in_half_precision_keep_small_gradients(dtype, generator):
    """5e-10 a value is nothing in float16, and 65,536, by which a gradient scaler starts to multiply, infinite."""
    _, pair = some_layers(generator)
    found = []
    for precision, scale in ((torch.float32, 1), (dtype, 65536)):
        network = Linear(torch.eye(3))
        layers = network(pair.rainy)
        layers = Layers(layers.background.to(precision), layers.rain.to(precision))
        balance = GradientBalanced({"mse": MSE(), "l1": L1()}, {"mse": 2e-6, "l1": 1e-6}, network.weight)
        (scale * balance(layers, pair)[0]).backward()
        found.append((torch.stack(list(balance.latest.values())), 1e6 * network.weight.grad / scale))
    torch.testing.assert_close(found[1], found[0], rtol=0.02, atol=5e-3)


def test_gradient_balance_wants_gradients():
    network, pair = one_pixel()
    balance = GradientBalanced({"mse": MSE()}, {"mse": 1.0}, network.weight)
    with torch.no_grad(), pytest.raises(DerainError, match="no_grad"):
        balance(network(pair.rainy), pair)


def test_the_shared_layer_is_not_the_losss_own():
    network, _ = one_pixel()
    assert list(GradientBalanced({"mse": MSE()}, {"mse": 1.0}, network.weight).parameters()) == []


# --- uncertainty ------------------------------------------------------------------------------------------------------


def test_uncertainty_by_hand():
    """s = (log 4, 0), losses 3 and 5: ½·¼·3 + ½·5 + ½·log 4; ∂/∂s = −½ e^{−s} L + ½."""
    terms, background = constants(3, 5), photograph(0.5)
    balance = Uncertainty(terms, ones(terms))
    with torch.no_grad():
        balance.log_variances["task_0"].fill_(math.log(4))
    total, _, weights = call(balance, background)
    assert weights == pytest.approx({"task_0": 1 / 8, "task_1": 1 / 2})
    assert total.item() == pytest.approx(3 / 8 + 5 / 2 + math.log(4) / 2)
    total.backward()
    assert balance.log_variances["task_0"].grad.item() == pytest.approx(-3 / 8 + 1 / 2)
    assert balance.log_variances["task_1"].grad.item() == pytest.approx(-5 / 2 + 1 / 2)
    torch.testing.assert_close(background.grad, torch.full((1, 3, 4, 4), (3 / 8 + 5 / 2) / 48))


def test_uncertainty_learns_one_over_twice_the_loss():
    terms = constants(0.02, 30.0)
    balance = Uncertainty(terms, ones(terms))
    optimizer = torch.optim.Adam(balance.parameters(), 0.05)
    for _ in range(600):
        optimizer.zero_grad()
        call(balance)[0].backward()
        optimizer.step()
    assert call(balance)[2] == pytest.approx({"task_0": 25, "task_1": 1 / 60}, rel=0.01)


# --- several processes ------------------------------------------------------------------------------------------------


def schemes(network: nn.Module) -> dict[str, Fixed]:
    terms = {"mse": MSE(), "l1": L1()}
    return {
        "loss": LossBalanced(terms, {"mse": 10.0, "l1": 1.0}),
        "gradient": GradientBalanced(terms, {"mse": 10.0, "l1": 1.0}, network.weight),
        "uncertainty": Uncertainty(terms, {"mse": 10.0, "l1": 1.0}),
    }


def batch() -> Pair:
    """Two photographs on which the tasks weigh very differently."""
    rainy = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    clean = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    return Pair(rainy, clean * torch.tensor([0.1, 3.0]).view(2, 1, 1, 1))


def found_in(pair: Pair) -> dict[str, list[torch.Tensor]]:
    """Weights and gradients of each scheme."""
    found = {}
    for name, balance in schemes(Linear(torch.eye(3))).items():
        network = Linear(torch.eye(3))
        if name == "gradient":
            balance.shared = [network.weight]
        balance(network(pair.rainy), pair)[0].backward()
        own = [parameter.grad for parameter in balance.parameters()]
        found[name] = [torch.stack(list(balance.latest.values())), network.weight.grad, *own]
    return found


def work(rank: int, rendezvous: str, folder: str):
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    torch.save(found_in(Pair(*(side[rank : rank + 1] for side in batch()[:2]))), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_processes_weigh_like_one(tmp_path):
    """Each has half of the batch; weights and learned gradients are those of the whole in both of them."""
    mp.spawn(work, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    expected = found_in(batch())
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    alone = found_in(Pair(*(side[:1] for side in batch()[:2])))
    for name, (weights, gradient, *own) in expected.items():
        for process in (first, second):
            torch.testing.assert_close(process[name][0], weights)
            for ours, theirs in zip(own, process[name][2:], strict=True):
                torch.testing.assert_close(theirs, ours)
        torch.testing.assert_close((first[name][1] + second[name][1]) / 2, gradient)
        if name != "uncertainty":
            assert (alone[name][0] - weights).abs().max() > 0.05, "half of the batch would weigh otherwise"
