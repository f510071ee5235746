#!/usr/bin/env python3
"""Plots the results of norma-bench: plot.py FILE.jsonl... --out DIR

For each device in the files, as PNG and SVG:
  <backend>-roofline   achieved rate over arithmetic intensity, under the measured bandwidth and product rate
  <backend>-speedup    speed-up over the separate norm and vendor's product by M, a line per shape
  <backend>-bandwidth  bandwidth of RMSNorm by hidden size, a line per M
A figure without rows is left out. Needs matplotlib (Debian and Ubuntu: python3-matplotlib).
"""

import argparse
import json
import math
import os
import re
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

DTYPES = ["f32", "bf16", "f16"]
DTYPE_COLORS = {"f32": "#0072b2", "bf16": "#d55e00", "f16": "#009e73"}
# Okabe and Ito's colours, which also colour-blind readers tell apart, and a marker each.
SERIES = [
    ("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "D"), ("#56b4e9", "v"),
    ("#e69f00", "P"), ("#000000", "X"), ("#8c6d31", "<"), ("#7f7f7f", ">"),
]
KINDS = [("RMSNorm", "o"), ("RMSNorm+Linear, M ≤ 64", "^"), ("RMSNorm+Linear, M > 64", "s")]

plt.rcParams.update({
    "font.size": 10, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "axes.axisbelow": True,
    "legend.frameon": False, "svg.fonttype": "none", "svg.hashsalt": "norma",
})


def read_rows(paths):
    """Verified and timed rows; of rows for the same problem on the same device the latest."""
    rows = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    if not row["verified"] or not row["median_us"] or row["op"].endswith("backward"):
                        continue  # gradients have tables, no figures
                    key = tuple(row[name] for name in (
                        "backend", "device", "op", "dtype", "m", "k", "n", "contract", "folded", "cache"))
                    key += (row.get("parts"),)
                except (ValueError, KeyError, TypeError) as error:
                    sys.exit(f"plot.py: {path}, line {number} is no row of norma-bench: {error}")
                if key not in rows or rows[key]["date"] <= row["date"]:
                    rows[key] = row
    return list(rows.values())


def by(rows, key):
    groups = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def title_of(rows):
    first = rows[0]
    dates = sorted({row["date"][:10] for row in rows})
    units = "threads" if first["backend"].startswith("cpu") else "compute units"
    return (f"{first['device']} ({first['backend']}, {first['arch']}, {first['threads']} {units}), "
            f"norma {first['version']}, {dates[-1]}")


def plain(value, _position=None):
    if value <= 0:
        return "0"
    return f"{value:.0f}" if value >= 10 else f"{value:.3g}"


def plain_ticks(axis, values=None):
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_formatter(NullFormatter())
    if values is not None:
        axis.set_ticks(values)
        axis.set_ticks([], minor=True)


def variant(row):
    """What a row is beyond its shape: a panel each."""
    words = [row["dtype"], row["contract"]]
    if row["folded"]:
        words.append("gamma folded")
    if row["cache"] != "cold":
        words.append(row["cache"])
    return ", ".join(words)


def variant_order(name):
    dtype = name.split(",")[0]
    return (DTYPES.index(dtype) if dtype in DTYPES else len(DTYPES), name)


def panels(names, legend_inches, width=4.6, height=4.0):
    """Panels that share the y axis, at most three beside each other, with room for a legend at the right."""
    columns = len(names) if len(names) <= 3 else math.ceil(len(names) / math.ceil(len(names) / 3))
    lines = math.ceil(len(names) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(width * columns + legend_inches, height * lines + 0.6), sharey=True,
                                squeeze=False, layout="constrained")
    flat = list(axes.flat)
    for axis in flat[len(names):]:
        axis.set_visible(False)
    for axis, name in zip(flat, names):
        axis.set_title(name, loc="left")
    return figure, flat, columns


def kind_of(row):
    if row["op"] == "rmsnorm":
        return 0
    return 1 if row["m"] <= 64 else 2


def roofline(rows):
    rows = [row for row in rows if row["gbps"] and row["tflops"]]
    if not rows:
        return None
    figure, axis = plt.subplots(figsize=(9.6, 5.6), layout="constrained")
    intensity = [1e3 * row["tflops"] / row["gbps"] for row in rows]
    low, high = min(intensity) / 2, max(intensity) * 2
    bandwidth = max((row["read_gbps"] or 0) for row in rows)
    rates = {dtype: max(row["ceiling_tflops"] for row in found) for dtype, found in by(
        [row for row in rows if row["ceiling_tflops"]], lambda row: row["dtype"]).items()}
    top = max(rates.values(), default=None)
    if bandwidth:
        end = min(high, 1e3 * top / bandwidth) if top else high
        axis.plot([low, end], [1e-3 * bandwidth * low, 1e-3 * bandwidth * end], color="#555555", linewidth=1.4)
    for dtype in DTYPES:
        if dtype in rates:
            start = 1e3 * rates[dtype] / bandwidth if bandwidth else low
            axis.plot([min(start, high / 4), high], [rates[dtype]] * 2, color=DTYPE_COLORS[dtype], linewidth=1.4)
    for row, x in zip(rows, intensity):
        axis.scatter(x, row["tflops"], s=34, marker=KINDS[kind_of(row)][1], linewidths=0.9, alpha=0.9,
                     edgecolors=DTYPE_COLORS.get(row["dtype"], "#555555"), facecolors="none")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(low, high)
    plain_ticks(axis.xaxis)
    plain_ticks(axis.yaxis)
    axis.set_xlabel("operations per byte of operands")
    axis.set_ylabel("TFLOP/s")
    present = {row["dtype"] for row in rows}
    handles = [Line2D([], [], color="#555555", label=f"read {plain(bandwidth)} GB/s")] if bandwidth else []
    handles += [Line2D([], [], color=DTYPE_COLORS[dtype],
                       label=dtype + (f", product {rates[dtype]:.3g} TFLOP/s" if dtype in rates else ""))
                for dtype in DTYPES if dtype in present]
    handles += [Line2D([], [], color="#333333", marker=marker, markerfacecolor="none", linestyle="none", label=name)
                for i, (name, marker) in enumerate(KINDS) if any(kind_of(row) == i for row in rows)]
    axis.legend(handles=handles, loc="lower right", fontsize=9)
    figure.suptitle("Roofline: " + title_of(rows), fontsize=11)
    return figure


def draw_lines(axis, groups, styles, x, y, band=None):
    for name in styles:
        found = sorted(groups.get(name, []), key=lambda row: row[x])
        if not found:
            continue
        color, marker = styles[name]
        xs, ys = [row[x] for row in found], [row[y] for row in found]
        if band:
            below = [max(0.0, row[y] - row[band[0]]) for row in found]
            above = [max(0.0, row[band[1]] - row[y]) for row in found]
            axis.errorbar(xs, ys, yerr=[below, above], fmt="none", ecolor=color, elinewidth=0.9, alpha=0.5)
        axis.plot(xs, ys, color=color, marker=marker, markersize=5, linewidth=1.5)


def legend_right(figure, styles, labels, title, inches):
    handles = [Line2D([], [], color=color, marker=marker, label=labels[name]) for name, (color, marker) in styles.items()]
    figure.get_layout_engine().set(rect=(0, 0, 1 - inches / figure.get_figwidth(), 1))
    figure.legend(handles=handles, loc="center right", title=title, alignment="left", fontsize=9)


def shape_of(row):
    return row["k"], row["n"], row.get("parts") or str(row["n"])


def speedup(rows):
    rows = [row for row in rows if row["op"] == "rmsnorm_linear" and row["speedup"]]
    if not rows:
        return None
    shapes = sorted({shape_of(row) for row in rows})
    styles = {shape: SERIES[i % len(SERIES)] for i, shape in enumerate(shapes)}
    named = {shape_of(row): row["label"] for row in rows if row["label"]}
    labels = {shape: f"{shape[0]} → {shape[2]}" + (f"\n  {named[shape]}" if shape in named else "") for shape in shapes}
    groups = by(rows, variant)
    names = sorted(groups, key=variant_order)
    figure, axes, columns = panels(names, 2.4)
    for i, (axis, name) in enumerate(zip(axes, names)):
        axis.axhline(1, color="#555555", linewidth=1.2)
        draw_lines(axis, by(groups[name], shape_of), styles, "m", "speedup",
                   ("speedup_p20", "speedup_p80"))
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        plain_ticks(axis.xaxis, sorted({row["m"] for row in groups[name]}))
        axis.tick_params(axis="x", labelrotation=45)
        axis.set_xlabel("M (rows of x)")
        if i % columns == 0:
            axis.set_ylabel("speed-up over norm + product\n(median, bars 20th to 80th percentile)")
    low = min(min(row["speedup_p20"] for row in rows), 0.9)
    high = max(max(row["speedup_p80"] for row in rows), 1.1)
    ticks = [tick for tick in (0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 16, 32) if low / 1.2 <= tick <= high * 1.2]
    plain_ticks(axes[0].yaxis, ticks)
    axes[0].set_ylim(low / 1.1, high * 1.1)
    legend_right(figure, styles, labels, "K → N", 2.4)
    figure.suptitle("Speed-up: " + title_of(rows), fontsize=11)
    return figure


def bandwidth(rows):
    rows = [row for row in rows if row["op"] == "rmsnorm" and row["gbps"]]
    if not rows:
        return None
    counts = sorted({row["m"] for row in rows})
    styles = {m: SERIES[i % len(SERIES)] for i, m in enumerate(counts)}
    groups = by(rows, variant)
    names = sorted(groups, key=variant_order)
    figure, axes, columns = panels(names, 1.3)
    ceiling = max((row["copy_gbps"] or 0) for row in rows)
    for i, (axis, name) in enumerate(zip(axes, names)):
        if ceiling:
            axis.axhline(ceiling, color="#555555", linewidth=1.2)
            axis.annotate(f"copy {plain(ceiling)} GB/s", (0, ceiling), xycoords=("axes fraction", "data"), xytext=(4, 4),
                          textcoords="offset points", color="#555555")
        draw_lines(axis, by(groups[name], lambda row: row["m"]), styles, "k", "gbps")
        axis.set_xscale("log", base=2)
        sizes = [row["k"] for row in rows]
        powers = range(int(math.log2(min(sizes))), math.ceil(math.log2(max(sizes))) + 1)
        plain_ticks(axis.xaxis, [2 ** power for power in powers])
        axis.tick_params(axis="x", labelrotation=45)
        axis.set_xlabel("hidden size K")
        axis.set_ylim(bottom=0)
        if i % columns == 0:
            axis.set_ylabel("GB/s, reading and writing")
    legend_right(figure, styles, {m: f"{m:,}" for m in counts}, "M (rows)", 1.3)
    figure.suptitle("RMSNorm bandwidth: " + title_of(rows), fontsize=11)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE", help="jsonl written by norma-bench")
    parser.add_argument("--out", default=".", metavar="DIR", help="where the figures go; default: here")
    options = parser.parse_args()
    try:
        rows = read_rows(options.files)
        os.makedirs(options.out, exist_ok=True)
    except OSError as error:
        sys.exit(f"plot.py: {error}")
    if not rows:
        sys.exit("plot.py: the files hold no verified row")
    for (backend, _device), found in by(rows, lambda row: (row["backend"], row["device"])).items():
        for draw in (roofline, speedup, bandwidth):
            figure = draw(found)
            if figure is None:
                continue
            stem = os.path.join(options.out, f"{re.sub('[^a-z0-9]', '', backend)}-{draw.__name__}")
            figure.savefig(stem + ".png", dpi=150)
            figure.savefig(stem + ".svg", metadata={"Date": None})
            plt.close(figure)
            print(stem + ".png", stem + ".svg")


if __name__ == "__main__":
    main()
