"""The picture of the GPU's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qlangevin.bench.picture import COLORS, MEANINGS

TEXT = 7.5


def draw(bench: dict[str, Any], path: Path) -> None:
    """Draws a panel for each dtype, and the growth, into `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  an extra
    from matplotlib.figure import Figure  # noqa: PLC0415  an extra
    from matplotlib.patches import Patch  # noqa: PLC0415  an extra

    names = {dtype: [name for name in bench["rows"] if name.startswith(f"{dtype} ")] for dtype in ("bf16", "float32")}
    figure = Figure(figsize=(12.0, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplot_mosaic([["bf16", "float32"], ["growth", "many"]], height_ratios=[3, 1])
    for dtype, listed in names.items():
        if listed:
            draw_rows(panels[dtype], {name.removeprefix(f"{dtype} "): bench["rows"][name] for name in listed}, dtype)
    draw_growth(panels["growth"], bench.get("growth", []))
    draw_many(panels["many"], bench.get("many", {}))
    families = [family for family in COLORS if any(row["family"] == family for row in bench["rows"].values())]
    meanings = {**MEANINGS, "torch": "torch.optim, fused"}
    patches = [Patch(color=COLORS[family], label=meanings[family]) for family in families]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9)
    machine = bench["machine"]
    place = machine["gpu"] or machine["cpu"]
    origin = (
        f"{place}, driver {machine.get('driver')}; torch {machine['torch']}, commit {machine['commit']}, {machine.get('date')}"
    )
    marks = "black lines: the device's lower bound"
    if any("triton" in row for row in bench["rows"].values()):
        marks += "; diamonds: through Triton"
    figure.suptitle(f"Milliseconds of one step over 1 B elements; {marks}\n{origin}", fontsize=11)
    figure.savefig(path, dpi=120)


def draw_rows(axes: Any, rows: dict[str, dict[str, Any]], title: str) -> None:
    """One dtype: bars of ms, a line at the bound, a diamond at Triton's ms, eager loops cut."""
    through_triton = {name: row["triton"]["ms"] for name, row in rows.items() if "triton" in row}
    limit = 1.1 * max(row["ms"] for row in rows.values() if row["family"] != "eager")
    limit = max(limit, *through_triton.values()) if through_triton else limit
    for at, (name, row) in enumerate(rows.items()):
        axes.barh(at, min(row["ms"], limit), color=COLORS[row["family"]])
        bound = row["ms"] * row["share_of_bound"]
        if bound <= limit:
            axes.plot([bound, bound], [at - 0.45, at + 0.45], color="black", linewidth=1.2)
        label = f"{row['ms']:.2f} ms, {100 * row['share_of_bound']:.0f} % of bound"
        right = row["ms"]
        if name in through_triton:
            axes.plot(through_triton[name], at, "D", markersize=4, markerfacecolor="white", markeredgecolor="black")
            label += f"; Triton {through_triton[name]:.2f} ms"
            right = max(right, through_triton[name]) + 0.05 * limit
        cut = row["ms"] > limit
        axes.text(0.98 * limit if cut else right + 0.01 * limit, at, label + (": cut" if cut else ""), va="center",
                  ha="right" if cut else "left", color="white" if cut else "black", fontsize=TEXT)  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows), fontsize=TEXT)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, (2.4 if through_triton else 1.5) * limit)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def draw_growth(axes: Any, points: list[dict[str, float]]) -> None:
    """The time of an element over the number of elements."""
    axes.set_title("picoseconds an element: bf16 momentum, noise, stochastic rounding", fontsize=10, loc="left")
    if points:
        axes.plot(
            [p["elements"] / 1e9 for p in points], [1e3 * p["ns_per_element"] for p in points], "o-", color=COLORS["qlangevin"]
        )
        axes.set_ylim(bottom=0)
        axes.set_xlabel("elements, 1e9", fontsize=TEXT)
    axes.spines[["top", "right"]].set_visible(False)


def draw_many(axes: Any, many: dict[str, Any]) -> None:
    """Whole steps over 1,000 small tensors."""
    rows = {name: row for name, row in many.items() if isinstance(row, dict)}
    for at, (name, row) in enumerate(rows.items()):
        axes.barh(at, row["us"], color=COLORS["torch" if name.startswith("torch") else "qlangevin"])
        axes.text(row["us"], at, f" {row['us']:.1f} us", va="center", fontsize=TEXT)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=TEXT)
    axes.invert_yaxis()
    axes.set_title("1,000 tensors of 1,024: microseconds of a whole step", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
