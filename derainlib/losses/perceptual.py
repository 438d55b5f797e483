"""The perceptual loss: what a classifier sees in the two images should agree, not only their pixels.

The classifiers are VGG16 and VGG19 of Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition": blocks of 3x3 convolutions and ReLUs, each block closed by a 2x2 max pooling. Their layers are numbered as
torchvision numbers them, so that its weights fit; torchvision itself is not needed, and nothing is ever downloaded.
"""

import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from derainlib import files
from derainlib.errors import DerainError, WeightsError, one_line
from derainlib.losses.term import Comparison

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions of each block."""

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each block."""

FILES = {"vgg16": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth"}
"""torchvision's weights from ImageNet: the names under which it keeps them in PyTorch's cache."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's RGB in [0, 1]."""

WHITE = 255 * sum(STD) / 3
"""How many times as large images in 0..255 are, without their mean, as those that torchvision's weights expect."""
LOUD = 2.0
"""Mean absolute weight of the first layer from which the weights are taken for such; torchvision's are near 0.2."""

NORMS = {"l1": torch.abs, "l2": torch.square}


def layer_names(network: str) -> list[str]:
    """The layers of a VGG in their order, which is torchvision's numbering: conv1_1, relu1_1, …, pool1, conv2_1, …."""
    names = []
    for block, count in enumerate(CONVOLUTIONS[network], 1):
        names += [f"{kind}{block}_{i}" for i in range(1, count + 1) for kind in ("conv", "relu")] + [f"pool{block}"]
    return names


class Features(nn.Sequential):
    """A VGG up to one of its layers, frozen: (N, 3, H, W), normalised → (N, channels, H / stride, W / stride).

    Args:
        network: "vgg16" or "vgg19".
        layer: the last layer, for example "relu3_3".
    """

    def __init__(self, network: str, layer: str):
        super().__init__()
        names, inputs = layer_names(network), 3
        for name in names[: names.index(layer) + 1]:
            if name.startswith("conv"):
                width = WIDTHS[int(name[4]) - 1]
                self.append(nn.Conv2d(inputs, width, 3, padding=1))
                inputs = width
            else:
                self.append(nn.ReLU(inplace=True) if name.startswith("relu") else nn.MaxPool2d(2))
        self.requires_grad_(False)

    def draw(self, seed: int = 0):
        """Random weights, always the same, that keep the size of what passes through (He et al. 2015)."""
        generator = torch.Generator().manual_seed(seed)
        for conv in self:
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(conv.bias)

    def read(self, path: Path):
        """Weights from a file with torchvision's names; those of later layers are left out.

        Caffe's and Keras' were trained on images in 0..255. Where their first layer was converted to torchvision's
        normalised images, all features are still 255 · 0.226 = 57.6 times as large, and so would be λ. ReLUs and
        poolings keep proportions: first weights and all biases divided by it, the features are torchvision's in size.

        Raises:
            WeightsError: a missing, damaged or foreign file. Nothing in it is executed.
        """
        state = {key.removeprefix("features."): value for key, value in files.tensors(path).items()}
        missing = [f"features.{key}" for key in self.state_dict() if key not in state]
        if missing:
            raise WeightsError(f"{path} holds no such VGG: it lacks {missing[0]}")
        try:
            self.load_state_dict({key: state[key] for key in self.state_dict()})
        except RuntimeError as error:
            raise WeightsError(f"{path} holds no such VGG: {one_line(error)}") from None
        if self[0].weight.abs().mean() > LOUD:
            with torch.no_grad():
                self[0].weight /= WHITE
                for conv in self:
                    if isinstance(conv, nn.Conv2d):
                        conv.bias /= WHITE


class Perceptual(Comparison):
    """Distance of VGG features, in Eq. 7 of the stage-wise network ‖VGG(B̂) − VGG(B)‖₁; the L1 of pixels is a term too.

    The sum over all features is divided by the images' N·3·H·W like every other term, so that with weights of 1 this
    and `L1` are in the proportion of Eq. 7 as printed. (The mean over the features is this times 3 s²/C for a layer of
    C channels at 1/s of the size: at relu3_3, 48/256.) In the map, each feature's share lies on the pixels nearest to
    it; pixels that the poolings leave over at the right and lower border have no feature of their own.

    The paper names neither network nor layer: VGG16 and relu3_3 are our choice. Table IV of MENET has
    `network="vgg19", layer="relu3_4", norm="l2"`. Computed in float32, or in float64 where the estimate is. The
    weights are read when the loss is first called, onto the estimate's device.

    Raises:
        DerainError: when called, images too small for the layer.
        WeightsError: when called, weights that are missing, damaged, or another network's.
    """

    name = "perceptual"

    network: Literal[*CONVOLUTIONS] = "vgg16"
    """Which VGG."""
    layer: str = "relu3_3"
    """Which features, a convolution or its ReLU: "conv1_1", "relu1_1", … "relu5_3" ("relu5_4" in VGG19)."""
    norm: Literal[*NORMS] = "l1"
    """"l1" (absolute differences) or "l2" (squared)."""
    normalise: bool = True
    """Whether to bring images from [0, 1] to ImageNet's mean and standard deviation, as the trained weights expect."""
    weights: str | Path = "torchvision"
    """"torchvision" for the file that torchvision has left in PyTorch's cache, the path of a .pth or .safetensors file
    with the same names (features of Caffe's or Keras' weights are brought to torchvision's size), or "random": for
    tests, and it warns. "untrained" are the same random ones on purpose, as a VGG to compare with: no warning, and no
    file takes their place."""

    def __post_init__(self):
        super().__post_init__()
        known = [name for name in layer_names(self.network) if not name.startswith("pool")]
        if self.layer not in known:
            raise DerainError(f"{self.network} has no layer {self.layer!r}; it has {', '.join(known)}")
        self.features = None  # read when first needed

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        features = self._features(estimate)
        with torch.autocast(estimate.device.type, enabled=False):
            with torch.no_grad():
                expected = features(self._prepare(truth))
            difference = features(self._prepare(estimate)) - expected
        cells = NORMS[self.norm](difference).sum(1, keepdim=True) / estimate.shape[1]
        return _spread(cells, estimate.shape[-2:])

    def _features(self, estimate: Tensor) -> Features:
        """The network, with its weights, where the estimate is."""
        if self.features is None:
            self.features = _load(self.network, self.layer, self.weights)
        smallest = 2 ** (int(self.layer[4]) - 1)
        if min(estimate.shape[-2:]) < smallest:
            raise DerainError(f"{self.layer} needs images of at least {smallest} x {smallest} pixels")
        return self.features.to(estimate.device, _precision(estimate))

    def _prepare(self, image: Tensor) -> Tensor:
        image = image.to(_precision(image))
        if not self.normalise:
            return image
        mean, std = (image.new_tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
        return (image - mean) / std


def _precision(image: Tensor) -> torch.dtype:
    return torch.promote_types(image.dtype, torch.float32)


def _spread(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Lays each cell on the pixels nearest to it, in equal parts: the sum over an image stays what it is."""
    for dim, length in zip((2, 3), size, strict=True):
        count = cells.shape[dim]
        owner = torch.arange(length, device=cells.device) * count // length
        pixels = torch.bincount(owner, minlength=count)
        cells = (cells / pixels.view(-1, 1) if dim == 2 else cells / pixels).index_select(dim, owner)
    return cells


def _load(network: str, layer: str, weights: str | Path) -> Features:
    features = Features(network, layer)
    if weights in ("random", "untrained"):
        if weights == "random":
            warnings.warn(
                f"the perceptual loss runs on a {network} with random weights: good for tests, not for training",
                stacklevel=2,
            )
        features.draw()
        return features
    if weights != "torchvision":
        features.read(Path(weights))
        return features
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILES[network]
    if not path.is_file():
        raise WeightsError(
            f"the perceptual loss needs {network}'s weights, and nothing is downloaded unasked: put torchvision's "
            f"{path.name} into {path.parent}, or name a file by weights=; weights='random' is for tests"
        )
    features.read(path)
    return features
