"""What a network makes of a photograph depends on its pixels, not on how they lie in memory."""

import pytest
import torch

from derainlib.models import SEGMENTERS, VARIANTS, create

PIXELS = torch.rand(33, 49, 3, generator=torch.Generator().manual_seed(0))
"""A photograph as NumPy and Pillow have it, colours last."""
IMAGE = PIXELS.permute(2, 0, 1)[None].contiguous()

LAYOUTS = {
    "permuted": PIXELS.permute(2, 0, 1)[None],
    "permuted, then computed": PIXELS.mul(255).permute(2, 0, 1)[None] / 255,
    "every second pixel": IMAGE.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, ::2, ::2],
    "columns first": IMAGE.mT.contiguous().mT,
    "one photograph twice": PIXELS[None].expand(2, -1, -1, -1).permute(0, 3, 1, 2),
    "one grey channel three times": IMAGE[:, :1].expand(-1, 3, -1, -1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*VARIANTS, *SEGMENTERS])
def test_strides_change_nothing(name, dtype):
    torch.manual_seed(0)
    network = create(name).eval().to(dtype)
    for layout, image in LAYOUTS.items():
        plain = image.clone(memory_format=torch.contiguous_format)
        with torch.inference_mode():
            found, expected = network(image), network(plain)
        tolerance = 1e-5 if dtype == torch.float32 else 1e-2
        error = (found.background - expected.background).abs().max()
        assert error < tolerance, f"{layout}: {error}"
        if "logits" in (expected.extras or {}):  # a segmenter's background is the photograph
            torch.testing.assert_close(found.extras["logits"], expected.extras["logits"], rtol=0, atol=tolerance)
