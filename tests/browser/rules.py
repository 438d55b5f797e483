"""What must hold of a demonstration as it stands in a page, in whatever colours."""

import io

import numpy as np
from PIL import Image

_RULES = """box => {
const found = [], name = part => `${part.tagName.toLowerCase()} ${part.textContent.trim().slice(0, 40)}`;
const seen = part => part.checkVisibility() && part.getBoundingClientRect().width > 1;
for (const part of [box, ...box.querySelectorAll('*')].filter(seen)) {
  const bars = ['auto', 'scroll'], style = getComputedStyle(part);
  if (bars.includes(style.overflowX) && part.scrollWidth > part.clientWidth + 1
      || bars.includes(style.overflowY) && part.scrollHeight > part.clientHeight + 1)
    found.push(`a scroll bar: ${name(part)}`);
}
for (const label of [...box.querySelectorAll('.widget-label, label')].filter(seen)) {
  if (label.scrollWidth > label.clientWidth + 1) found.push(`a label that is cut: ${name(label)}`);
  const shade = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(part => (part / 255) ** 2.2);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  let ground = label;
  while (ground.parentElement && getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)')
    ground = ground.parentElement;
  const [a, b] = [shade(getComputedStyle(label).color), shade(getComputedStyle(ground).backgroundColor)];
  if (Math.max(a / b, b / a) < 4.5) found.push(`a label that cannot be read: ${name(label)}`);
}
const parts = [...box.querySelectorAll('.widget-label, .widget-readout, .noUi-target, select, input, button, img')]
  .filter(seen).map(part => [part, part.getBoundingClientRect()]);
for (const [i, [one, a]] of parts.entries())
  for (const [other, b] of parts.slice(i + 1))
    if (!one.contains(other) && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
      found.push(`one over the other: ${name(one)}, ${name(other)}`);
return found;
}"""
"""WCAG 2.1 wants a contrast of 4.5 of small text."""


def broken(box) -> list[str]:
    """What is wrong with the looks of a part of a page: bars that scroll, cut or pale labels, parts on one another."""
    return box.evaluate(_RULES)


def is_drawn(screenshot: bytes) -> bool:
    """Whether there is anything but a plain ground."""
    return np.asarray(Image.open(io.BytesIO(screenshot)).convert("L")).std() > 10
