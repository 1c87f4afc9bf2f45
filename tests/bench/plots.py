"""PNG plots of results.json.

Rules of this file: one picture a bench, of its first metric; needs matplotlib (the extra `bench`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]

mpl.use("Agg")
import matplotlib.pyplot as plt  # type: ignore[import-not-found,unused-ignore]

from tests.bench.bench import OURS, Bench, Metric
from tests.bench.benches import ALL
from tests.bench.figures import Figure, shown

_LOGARITHMIC_FROM = 30.0
"""Greatest by least median from which on a linear scale shows nothing."""
_OURS_COLOUR, _PEER_COLOUR = "#1f6f8b", "#b0b7bd"


def draw(results: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Draw what there is; bench -> file name."""
    drawn: dict[str, str] = {}
    for kind in ALL:
        found = results.get("benches", {}).get(kind.name, {}).get("contenders", {})
        metric = next((each for each in kind.metrics if each.name == (kind.ratio_of or kind.metrics[0].name)), None)
        figures = _figures(found, metric) if metric else {}
        if metric and len(figures) > 1:
            drawn[kind.name] = f"{kind.name}.png"
            _picture(kind, metric, figures, folder / drawn[kind.name])
    return drawn


def _figures(contenders: Mapping[str, Any], metric: Metric) -> dict[str, Figure]:
    return {
        name: Figure.of(found["values"][metric.name])
        for name, found in contenders.items()
        if found["values"].get(metric.name)
    }


def _picture(kind: type[Bench], metric: Metric, figures: Mapping[str, Figure], path: Path) -> None:
    names = list(figures)[::-1]
    values = [figures[name].median for name in names]
    errors = [
        [figures[name].median - figures[name].least for name in names],
        [figures[name].most - figures[name].median for name in names],
    ]
    picture, axes = plt.subplots(figsize=(9, 0.9 + 0.38 * len(names)))
    try:
        colours = [_OURS_COLOUR if name.startswith(OURS) else _PEER_COLOUR for name in names]
        axes.barh(names, values, xerr=errors, color=colours, ecolor="#444444", capsize=2)
        if min(values) > 0 and max(values) / min(values) >= _LOGARITHMIC_FROM:
            axes.set_xscale("log")
        for place, name in enumerate(names):
            axes.annotate(
                f" {shown(figures[name].median)}",
                (figures[name].most, place),
                va="center",
                fontsize=8,
                xytext=(3, 0),
                textcoords="offset points",
            )
        axes.margins(x=0.12)
        axes.set_title(kind.title, fontsize=10, loc="left")
        axes.set_xlabel(f"{metric.unit} ({metric.better} is better)", fontsize=8)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        picture.tight_layout()
        picture.savefig(path, dpi=110, metadata={"Software": None})
    finally:
        plt.close(picture)
