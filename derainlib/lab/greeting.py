"""A page greets the kernel when it shows a demonstration, and tells the reader if no answer comes.

Which front ends answer while a cell runs is only seen by a message of theirs, and a reader's first move may come while
a cell trains: too late to say that it waits. So the page sends one unasked; the kernel's answer tells whether this page
waits, and no answer within `PATIENCE` that it does. Sliders get what ipywidgets (8.1) leaves out, their label as the
name that a screen reader says. Keys pressed in a demonstration stay in it: JupyterLab would take a list's arrows to the
next cell, and delete the cell for two D. Those with Control stay JupyterLab's. Plain HTML, as `derainlib.lab.pieces`.
"""

from collections.abc import Callable

import ipywidgets

WAITS = "<i>This page cannot answer while a cell runs: what you move meanwhile is answered when the cell ends.</i>"
"""What a page without subshells says under its controls."""

PATIENCE = 5
"""Seconds without an answer after which the page says that it waits."""

_BUSY = "<i hidden>The kernel is busy: what you move is answered when the running cell ends.</i>"

_PAGE = """<img src="data:," alt="" hidden onerror="
const busy = this.nextElementSibling, began = Date.now();
let said = false;
const timer = setInterval(() => {{
  const box = this.closest('.demonstration'), wire = box &amp;&amp; box.querySelector('.greeting textarea');
  if (!wire) return;
  for (const slider of box.querySelectorAll('.widget-slider'))
    for (const handle of slider.querySelectorAll('[role=slider]'))
      handle.setAttribute('aria-label', slider.querySelector('.widget-label').textContent);
  if (!said) {{
    said = true;
    box.onkeydown = event =&gt; {{
      if (!event.ctrlKey &amp;&amp; !event.metaKey &amp;&amp; !event.shiftKey) event.stopPropagation();
    }};
    wire.value = 'here';
    wire.dispatchEvent(new Event('change', {{bubbles: true}}));
  }}
  const late = Date.now() - began &gt; {patience}000;
  busy.hidden = wire.value === '' || !late;
  if (late &amp;&amp; wire.value === '' || Date.now() - began &gt; 3600000) clearInterval(timer);
}}, 200)">{busy}"""


class Greeting(ipywidgets.VBox):
    """Nothing that is seen, unless the page waits; for the box of a demonstration, which has the class of that name.

    Args:
        answer: called in the kernel when a page shows it, on the thread by which that page's moves will come.
    """

    def __init__(self, answer: Callable[[], object]):
        self._wire = ipywidgets.Textarea(continuous_update=False)
        self._wire.layout.display = "none"
        self._wire.observe(self._heard, names="value")
        self._answer = answer
        super().__init__([ipywidgets.HTML(_PAGE.format(patience=PATIENCE, busy=_BUSY)), self._wire])
        self.add_class("greeting")

    def _heard(self, change) -> None:
        if change["new"]:
            self._answer()
            self._wire.value = ""  # which is how the page knows
