"""The semantic regularisation of PHPNet: a derained street should still be read as the street it is.

Labels are `pair.labels`, (N, H, W), the class of each pixel; 255 means that nobody knows it. Two terms judge what a
network says about them, either another network Φ that looks at the derained image, or the trained network itself:

    Semantic()            its own logits, `layers.extras["logits"]`: segmentation shared with deraining, or a segmenter
    Semantic(phi)         those of Φ(X^c): the gradient goes through Φ into the image (Eq. 5)
    Presence(), Presence(phi)    likewise the presence of each class in the image (Table V)

Φ is frozen: were it trained along, it could learn to read rain, and the deraining network would be asked for less. (The
paper does not say whether it is.) It is called in eval mode.
"""

from dataclasses import field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import IGNORED, Layers, Pair
from derainlib.losses.term import Term, coarse


class Recognition(Term):
    """A loss on what a network recognises in images that have labels.

    Images without any labelled pixel are left out, also of Φ's work; without any labels at all the loss is 0, still
    with a graph, so that a batch of unlabelled photographs trains like every other.
    """

    head = ""
    """Name in `extras` of the output that is judged."""

    network: nn.Module | None = field(default=None, kw_only=False)
    """Φ, a network whose `extras` have the head, which is frozen here; it is given X^c, or the background of networks
    without X^c. None judges the head of the layers themselves."""

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.network, nn.Module | None):
            raise DerainError(
                f"network is {self.network!r}; hand over the network itself (a recipe loads it by its name)"
            )
        if self.network is not None:
            self.network.requires_grad_(False).eval()

    def judge(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of labelled images as a picture whose mean it is: the head's output, (N, H, W) → (N, H, W)."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Recognition":
        """As in `nn.Module`, but the frozen network stays in eval mode."""
        super().train(mode)
        if self.network is not None:
            self.network.eval()
        return self

    def picture(self, layers: Layers, pair: Pair) -> Tensor:
        source = self._output(layers) if self.network is None else coarse(layers).background
        count, _, height, width = pair.clean.shape
        picture = pair.clean.new_zeros(count, height, width) + 0 * source.mean()
        rows = _labelled(pair)
        if len(rows):
            logits = source[rows]
            if self.network is not None:
                logits = self._output(self.network.to(source.device)(logits))
            labels = pair.labels[rows]
            _require_classes(labels, logits.shape[1])
            # Means over the images with labels become means over all of them.
            judged = self.judge(logits.to(picture.dtype), labels) * (count / len(rows))
            picture = picture.index_add(0, rows, judged)
        return picture[:, None]

    def _output(self, layers: Layers) -> Tensor:
        output = layers.kept(self.head)
        if not output:
            raise DerainError(
                f"the {type(self).__name__.lower()} loss needs a network with an output {self.head!r}: "
                "call one that has it with keep=True, or give the loss a segmenter that has it as its network"
            )
        return output[0]


class Semantic(Recognition):
    """L_seg of Eq. 5 of PHPNet: the cross-entropy −ln p(label) of a segmentation, averaged over the labelled pixels.

    Several processes, or portions of a batch, each average over their own labelled pixels; one without any counts as 0.

    Pixels without a label count nowhere. In the map they are 0 and every other pixel's −ln p is multiplied by (all
    pixels of the batch) / (labelled pixels of the batch): so the map averages to the loss. `normaliser="sum"` is the
    mean times N·3·H·W, so that weights keep their ratio to those of terms whose sums are literal ones.

    Raises:
        DerainError: when called, no logits, or labels beyond the K classes.
    """

    name = "semantic"
    head = "logits"

    def judge(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
        return losses * labels.numel() / (labels != IGNORED).sum()


class Presence(Recognition):
    """The presence of classes, strategies (a) and (b) of PHPNet's Table V: is there any sky, any car in the image?

    As in Zhang et al. 2018, "Context encoding for semantic segmentation", a binary cross-entropy for each class,
    averaged over classes and the images with labels; a class is present where one pixel has it. Small and large
    classes count the same, and places not at all: the map is the loss of each image laid evenly on its pixels (0 on
    images without labels, the others multiplied by all images / labelled images).

    Raises:
        DerainError: when called, no presence logits, or labels beyond the K classes.
    """

    name = "presence"
    head = "presence"

    def judge(self, logits: Tensor, labels: Tensor) -> Tensor:
        classes = torch.arange(logits.shape[1], device=labels.device)
        present = torch.stack([torch.isin(classes, image) for image in labels]).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, present, reduction="none").mean(1)
        return losses[:, None, None].expand(labels.shape)


def _labelled(pair: Pair) -> Tensor:
    """Indices of the images with a labelled pixel."""
    if pair.labels is None:
        return torch.empty(0, dtype=torch.long, device=pair.clean.device)
    return (pair.labels != IGNORED).flatten(1).any(1).nonzero()[:, 0]


def _require_classes(labels: Tensor, count: int):
    unknown = labels[(labels != IGNORED) & ((labels < 0) | (labels >= count))]
    if len(unknown):
        raise DerainError(
            f"the network tells {count} classes apart and a label is {int(unknown[0])}: "
            f"give labels from 0 to {count - 1}, and {IGNORED} where there is none"
        )
