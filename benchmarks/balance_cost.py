"""What do weights that balance themselves cost in a training step, beside a fixed sum of the same losses?

    python benchmarks/balance_cost.py                         # MENET's three losses, 8 patches of 64²
    python benchmarks/balance_cost.py --recipes menet/GB menet/GB-deep --patches 64 224

A step is the forward pass, the losses, the backward pass and Adam, with the network, losses and batch of the recipe at
its quick scale. Each scheme has a network of its own and takes a step in each round; its cost is the median of its
steps, its extra cost the median over the rounds of its step less the fixed sum's of the same round. "gradient, the
plain way" differentiates each loss by itself from its value back to the shared layer, and then their sum once more,
where ours does so once. The results go to benchmarks/results/balance_cost.json.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence

import common
import torch

from derainlib import recipes
from derainlib.layers import Pair
from derainlib.losses import GradientBalanced
from derainlib.losses.balance import balanced

SCHEMES = ("fixed", "loss", "gradient", "uncertainty")
"""What is timed, by the names of recipes; LB as printed costs what LB costs."""


class Plain(GradientBalanced):
    """GB as Algorithm 1 reads: every loss differentiated by itself, with the graph kept."""

    def forward(self, layers, pair):
        values = {name: term(layers, pair) for name, term in self.terms.items()}
        tasks = [self.weights[name] * value.float() for name, value in values.items()]
        norms = [torch.autograd.grad(task, self.shared[0], retain_graph=True)[0].norm() for task in tasks]
        total = sum(weight * task for weight, task in zip(balanced(torch.stack(norms)), tasks, strict=True))
        return total, values


def losses(recipe: recipes.Recipe, network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The recipe's loss under each scheme."""
    schemes = {name: recipe.replace(balance=name).build_loss(network) for name in SCHEMES}
    plain = Plain(dict(schemes["fixed"].terms), schemes["fixed"].weights, network.shared)
    return schemes | {"gradient, the plain way": plain}


def step(recipe: recipes.Recipe, scheme: str, pair: Pair) -> Callable[[], None]:
    """A training step of a network of its own."""
    torch.manual_seed(0)
    network = recipe.build_model().to(pair.rainy.device, memory_format=torch.channels_last)
    loss = losses(recipe, network)[scheme].to(pair.rainy.device)
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], recipe.lr)
    autocast = torch.autocast(pair.rainy.device.type, torch.bfloat16, enabled=recipe.precision == "bf16")

    def run():
        with autocast:
            layers = network(pair.rainy, keep=True)
        whole = layers._replace(background=layers.background.float(), rain=layers.rain.float())
        loss(whole, pair)[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def measure(recipe: recipes.Recipe, rounds: int, device: str) -> dict:
    """Seconds of a step under each scheme, and the extra cost beside the fixed sum, in per cent of its step."""
    shape = (recipe.batch, 3, recipe.patch, recipe.patch)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    pair = Pair(*(image.contiguous(memory_format=torch.channels_last) for image in images))
    names = (*SCHEMES, "gradient, the plain way")
    times = common.take_turns({name: step(recipe, name, pair) for name in names}, rounds)
    return {name: common.timing(own) | {"extra per cent": _extra(own, times["fixed"])} for name, own in times.items()}


def _extra(own: list[float], fixed: list[float]) -> float:
    extra = statistics.median(a - b for a, b in zip(own, fixed, strict=True))
    return round(100 * extra / statistics.median(fixed), 1)


def table(measured: list[dict]) -> str:
    """The results as text."""
    lines = []
    for case in measured:
        lines.append(f"{case['recipe']}, {case['batch']} patches of {case['patch']}², {case['precision']}")
        for name, row in case["schemes"].items():
            lines.append(f"  {name:24} {1000 * row['seconds']:8.1f} ms  {row['extra per cent']:+6.1f} %")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "balance_cost", "rounds", "threads", "device", rounds=60, threads=1)
    found.add_argument("--recipes", nargs="+", default=["menet/GB"])
    found.add_argument("--patches", nargs="+", type=int, default=[64])
    found.add_argument("--batch", type=int, default=8)
    found.add_argument("--precisions", nargs="+", default=["no", "bf16"])
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Measures, writes, prints."""
    options = common.parse(parser(), arguments)
    device, measured = common.use(options), []
    for name in options.recipes:
        for patch in options.patches:
            for precision in options.precisions:
                recipe = recipes.get(name, "quick", patch=patch, batch=options.batch, precision=precision)
                case = {"recipe": name, "patch": patch, "batch": options.batch, "precision": precision}
                measured.append(case | {"schemes": measure(recipe, options.rounds, device)})
    common.write(options.out, {"machine": common.machine(device), "rounds": options.rounds, "measured": measured})
    print(table(measured))


if __name__ == "__main__":
    sys.exit(main())
