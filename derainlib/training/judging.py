"""The scores of a network on validation pairs, the same in every process; each process scores its share of them."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from derainlib import metrics
from derainlib.layers import Layers, Pair


def judge(network: nn.Module, pairs: Sequence[Pair], criterion: str, accelerator) -> dict[str, float]:
    """The scores that belong to a criterion.

    Args:
        network: what is judged; it is in training mode again afterwards.
        pairs: one image each; with labels for "miou".
        criterion: "psnr_rgb" (mean PSNR in dB, and SSIM of the luminance as ssim_y), or "miou" (and the accuracy).
        accelerator: accelerate's, which knows of the other processes.
    """
    return {"psnr_rgb": _beauty, "miou": _reading}[criterion](network, pairs, accelerator)


def _beauty(network: nn.Module, pairs: Sequence[Pair], accelerator) -> dict[str, float]:
    """Mean PSNR and SSIM of the backgrounds."""
    totals = torch.zeros(2, device=accelerator.device)
    for pair, layers in _estimates(network, pairs, accelerator):
        named = (metrics.psnr(layers.background, pair.clean, "rgb"), metrics.ssim(layers.background, pair.clean, "y"))
        totals += torch.stack([score.mean().float() for score in named])
    psnr, ssim = (accelerator.reduce(totals, "sum") / len(pairs)).tolist()
    return {"psnr_rgb": psnr, "ssim_y": ssim}


def _reading(network: nn.Module, pairs: Sequence[Pair], accelerator) -> dict[str, float]:
    """mIoU and pixel accuracy of the classes, over the pixels of all pairs together."""
    from accelerate.utils import gather_object

    counts = []
    for pair, layers in _estimates(network, pairs, accelerator):
        logits = layers.extras["logits"]
        confusion = metrics.Confusion(logits.shape[1])
        confusion.update(logits.argmax(1), pair.labels)
        counts.append(confusion.counts)
    counts = torch.stack(gather_object(counts))  # a process may have had no pair
    confusion = metrics.Confusion(counts.shape[-1])
    confusion.counts = counts.sum(0)
    return {"miou": confusion.miou, "accuracy": confusion.accuracy}


def _estimates(network: nn.Module, pairs: Sequence[Pair], accelerator) -> Iterable[tuple[Pair, Layers]]:
    """This process's share of the pairs, and what the network makes of them."""
    modes = {layer: layer.training for layer in network.modules()}
    network.eval()
    for i in range(accelerator.process_index, len(pairs), accelerator.num_processes):
        pair = pairs[i].to(accelerator.device)
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"):  # or each size would be compiled
            layers = network(pair.rainy)
        yield pair, layers
    for layer, mode in modes.items():
        layer.training = mode
