"""The parts of a report that are plain HTML: facts, funnel, table, distributions, hulls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from crystal_diffusion.runs.columns import Column, column, used_columns
from crystal_diffusion.runs.predicted import PREFIX, interval_columns
from crystal_diffusion.viewer.asked_chart import asked_chart
from crystal_diffusion.viewer.charts import bars, empty, histogram, number
from crystal_diffusion.viewer.formulas import formula_html
from crystal_diffusion.viewer.hull_chart import hull_chart, hull_points
from crystal_diffusion.viewer.page import escape
from crystal_diffusion.viewer.report_data import ReportData
from crystal_diffusion.viewer.same_chemistry import Reference, same_chemistry

_DISTRIBUTIONS = ("volume_per_atom_A3", "density_g_cm3", "min_distance_A")
_MOST_HULLS = 12


def shown(value: Any, described: Column) -> str:
    """A cell of the table as text; empty where there is no value."""
    text = described.text(value)
    return text.replace("-", "\N{MINUS SIGN}") if described.kind == "number" else text


def with_interval(row: Mapping[str, Any], described: Column) -> str:
    """A cell as text, a prediction with the ends of its interval where they are known."""
    text = shown(row.get(described.name), described)
    if not text or not described.name.startswith(PREFIX):
        return text
    low, high = (shown(row.get(end), described) for end in interval_columns(described.name))
    return f"{text} ({low} to {high})" if low and high else text


def group_symbol(space_group: Any) -> str:
    """Number and Hermann-Mauguin symbol."""
    from pymatgen.symmetry.groups import sg_symbol_from_int_number

    if not isinstance(space_group, int) or not 1 <= space_group <= 230:
        return ""
    return f"{space_group} {sg_symbol_from_int_number(space_group)}"


def facts(entries: Sequence[tuple[str, Any]]) -> str:
    """A list of names and values; entries without a value are left out."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(words)}</dd></div>"
        for name, words in ((n, "" if v is None else _plain(v)) for n, v in entries)
        if words
    )
    return f'<dl class="facts">{items}</dl>' if items else ""


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, list | tuple):
        words = [_plain(v) for v in value]
        more = f" and {len(words) - 24} more" if len(words) > 24 else ""
        return ", ".join(words[:24]) + more
    return f"{value:g}" if isinstance(value, float) else str(value)


def asked(data: ReportData) -> str:
    """What was asked for."""
    manifest = data.manifest
    if not manifest:
        return empty(
            "This folder has no manifest.json: the crystals come from elsewhere, and what was "
            "asked for is not known."
        )
    request = manifest.get("request") or {}
    host = request.get("host")
    if isinstance(host, dict):  # with its cell and coordinates, which are too long to show
        request = {**request, "host": host.get("formula")}
    wanted = [(str(k).replace("_", " ").capitalize(), v) for k, v in request.items()]
    command = manifest.get("command")
    if isinstance(command, list):
        command = " ".join(str(c) for c in command)
    if "request" not in manifest and manifest.get("screened_from"):
        return facts(
            [
                ("Crystals from", f"{manifest['screened_from']}, not made by this library"),
                ("Read", manifest.get("read")),
                ("Unreadable", len(manifest.get("unreadable") or {})),
                ("Command", command),
            ]
        )
    return facts(
        [
            *(wanted or [("Request", "nothing in particular: everything was left to the model")]),
            ("Crystals asked for", manifest.get("n")),
            ("Crystals made", manifest.get("made")),
            ("Missing", manifest.get("missing")),
            ("Command", command),
        ]
    )


def how(data: ReportData) -> str:
    """How it was made."""
    manifest = data.manifest
    first = next((row for row in data.rows if row.get("potential")), {})
    potential = " ".join(str(first.get(k) or "") for k in ("potential", "potential_version"))
    sampler = (manifest.get("settings") or {}).get("sampler")
    model = {
        name: str(value)[:12] if name.endswith("sha256") and value else value
        for name, value in (manifest.get("model") or {}).items()
    }
    said = model.pop("verdict", None)
    given = manifest.get("settings") or {}
    settings = {k: v for k, v in given.items() if k not in ("sampler", "validator")}
    machine = manifest.get("machine") or {}
    listed = facts(
        [
            ("Model", model),
            ("What its training showed", said),
            ("Confidence comes from", manifest.get("confidence_source")),
            ("First candidates to take", _lines(manifest.get("first_candidates_to_take"))),
            ("Seed", manifest.get("seed")),
            ("Sampler", sampler),
            ("Settings", settings),
            ("Checks", (given.get("validator") or {}).get("profile")),
            ("Device", manifest.get("device")),
            ("Machine", {k: v for k, v in machine.items() if k != "host"}),
            ("Started", manifest.get("started")),
            ("Seconds", manifest.get("seconds")),
            ("Relaxed with", potential.strip()),
            (column("reference_date").label, first.get("reference_date")),
            ("Screening", "; ".join(data.notes)),
            ("Versions", manifest.get("versions")),
        ]
    )
    return listed or empty("Nothing is recorded about how these crystals were made.")


def _lines(said: object) -> str | None:
    """Sentences of a manifest, joined; None where it holds none."""
    return "; ".join(map(str, said)) or None if isinstance(said, list) else None


def funnel(data: ReportData) -> str:
    """Counts from step to step, and what was rejected why."""
    top = max((count for _, count in data.funnel), default=1) or 1
    steps = "".join(
        f'<li><span class="step">{escape(label)}</span><span class="bar">'
        f'<span style="width:{100 * count / top:.2f}%"></span></span>'
        f"<strong>{count}</strong></li>"
        for label, count in data.funnel
    )
    parts = [f'<ol class="funnel">{steps}</ol>']
    if data.rejected:
        total = sum(data.rejected.values())
        rows = "".join(
            f"<tr><td>{escape(reason)}</td><td>{count}</td><td>{100 * count / total:.1f}</td></tr>"
            for reason, count in data.rejected.items()
        )
        parts.append(
            '<table class="small"><caption>Rejected when made, by the first check that failed'
            '</caption><thead><tr><th scope="col">Check</th><th scope="col">Count</th>'
            f'<th scope="col">Share (%)</th></tr></thead><tbody>{rows}</tbody></table>'
        )
    else:
        parts.append(empty("No rejected candidates are recorded."))
    problems = Counter(str(row["problem"]) for row in data.rows if row.get("problem"))
    if problems:
        rows = "".join(
            f"<tr><td>{escape(_short(reason))}</td><td>{count}</td></tr>"
            for reason, count in problems.most_common(12)
        )
        parts.append(
            '<table class="small"><caption>Problems in screening</caption><thead><tr>'
            '<th scope="col">Problem</th><th scope="col">Crystals</th></tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )
    return "".join(parts)


def _short(words: str, most: int = 160) -> str:
    return words if len(words) <= most else words[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def table(data: ReportData) -> str:
    """One row per crystal; headers are buttons that sort."""
    columns = used_columns(data.rows)
    head = "".join(
        f'<th scope="col" aria-sort="none" class="c-{"t" if c.digits is None else "n"}'
        f'{" k" if c.name == "id" else ""}">'
        f'<button type="button">{escape(c.label)}'
        + (f' <span class="unit">({escape(c.unit)})</span>' if c.unit else "")
        + '<span class="arrow" aria-hidden="true"></span></button></th>'
        for c in columns
    )
    lines = []
    for place, row in enumerate(data.rows):
        cells = []
        for described in columns:
            key = described.name
            value = with_interval(row, described)
            if key == "id":
                cells.append(
                    f'<th scope="row"><a href="#id={escape(value)}">{escape(value)}</a></th>'
                )
            elif key == "formula":
                cells.append(f"<td>{formula_html(value)}</td>")
            elif key.startswith("space_group"):
                cells.append(f"<td>{formula_html(group_symbol(row.get(key)))}</td>")
            else:
                style = ' class="n"' if described.digits is not None else ""
                cells.append(f"<td{style}>{escape(value)}</td>")
        lines.append(f'<tr data-i="{place}">{"".join(cells)}</tr>')
    body = "\n".join(lines)
    return (
        '<div class="scroll" role="region" aria-labelledby="table-caption" tabindex="0"><table '
        'id="crystals"><caption id="table-caption">All crystals. A click on a header sorts; the id '
        f"opens the card.</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
        "</div>"
    )


def predicted(data: ReportData) -> str:
    """A chart for each property that was asked for."""
    found = data.manifest.get("properties") or {}
    rows = sorted(data.rows, key=lambda row: row.get("rank") or math.inf)
    parts = [
        f"<figure>{chart}</figure>"
        for name, ends in (found.get("asked") or {}).items()
        if (chart := asked_chart(str(name), ends, rows)) is not None
    ]
    key = (
        '<p class="key"><span class="k1"></span>predicted, with its 90 % interval '
        '<span class="k3"></span>asked</p>'
    )
    notes = "".join(f'<p class="quiet">{escape(w)}</p>' for w in found.get("warnings") or ())
    return f'{key}<div class="charts">{"".join(parts)}</div>{notes}'


def distributions(data: ReportData) -> str:
    """Made crystals against known ones of the same chemistry, else against the training set."""
    reference = same_chemistry(str(r["formula"]) for r in data.rows if r.get("formula"))
    if reference is None:
        statistics = data.manifest.get("training_statistics") or {}
        reference = Reference("training set", "", statistics)
    parts: list[str] = []
    without: list[str] = []
    for key in _DISTRIBUTIONS:
        title, unit = column(key).label.lower(), column(key).unit
        values = [float(r[key]) for r in data.rows if isinstance(r.get(key), int | float)]
        others = reference.values.get(key)
        if not isinstance(others, list) or not others:
            others = None
            without.append(title)
        if values:
            chart = histogram(title.capitalize(), unit, values, others, reference.name)
            parts.append(f"<figure>{chart}</figure>")
        else:
            parts.append(empty(f"The table has no {title}."))
    groups = Counter(
        group_symbol(r["space_group_0.1"]) for r in data.rows if r.get("space_group_0.1")
    )
    known = reference.values.get("space_group_0.1") or reference.values.get("space_group")
    shares = None
    if isinstance(known, Mapping):
        shares = {group_symbol(int(k)): int(v) for k, v in known.items()}
    elif isinstance(known, list):
        shares = dict(Counter(group_symbol(int(k)) for k in known))
    else:
        without.append("space groups")
    if groups:
        parts.append(
            "<figure><figcaption>Space groups at 0.1 Å (share of crystals)</figcaption>"
            f"{bars('Space groups', groups, shares)}</figure>"
        )
    note = empty(reference.words) if reference.words else ""
    if without:
        note = empty(
            "The training set is not drawn for " + ", ".join(without) + ": the manifest does not "
            "hold its values."
        )
    key = (
        f'<p class="key"><span class="k1"></span>made <span class="k2"></span>{reference.name}</p>'
        if len(without) < len(_DISTRIBUTIONS) + 1
        else '<p class="key"><span class="k1"></span>made</p>'
    )
    return f'{key}<div class="charts narrow">{"".join(parts)}</div>{note}'


def hulls(data: ReportData) -> str:
    """A diagram for each chemical system of two or three elements."""
    systems = data.hull.get("systems") or {}
    if not systems:
        return empty(
            "There is no hull.json: energies above the hull were not computed. "
            "`crystal-diffusion screen` computes them."
        )
    order = sorted(systems, key=lambda s: (-len(systems[s].get("candidates", [])), s))
    parts: list[str] = []
    other: list[str] = []
    for name in order:
        elements = name.split("-")
        points = hull_points(elements, systems[name])
        if len(elements) in (2, 3) and points and len(parts) < _MOST_HULLS:
            known = sum(not p.candidate for p in points)
            parts.append(
                f"<figure><figcaption>{escape(name)}: {known} known phases, "
                f"{len(points) - known} crystals of this report</figcaption>"
                f"{hull_chart(elements, points)}</figure>"
            )
        else:
            other.append(name)
    note = ""
    if other:
        words = ", ".join(other[:30]) + (f" and {len(other) - 30} more" if len(other) > 30 else "")
        note = empty(
            f"Not drawn: {words}. Diagrams are for two or three elements that all have a "
            f"reference, and for at most {_MOST_HULLS} systems; the distances are in the table."
        )
    source = " ".join(str(data.hull.get(k) or "") for k in ("potential", "potential_version"))
    key = (
        '<p class="key"><span class="k-stable"></span>known, on the hull '
        '<span class="k-known"></span>known, above it <span class="k-candidate"></span>crystals '
        f"of this report. Energies: {escape(source.strip() or 'not named')}.</p>"
    )
    return f'{key}<div class="charts">{"".join(parts)}</div>{note}'


def headline(data: ReportData) -> str:
    """One sentence: how many, and the best."""
    count = len(data.rows)
    words = f"{count} crystal{'s' if count != 1 else ''}"
    formulas = Counter(str(r["formula"]) for r in data.rows if r.get("formula"))
    if len(formulas) == 1:
        words += f" of {next(iter(formulas))}"
    elif formulas:
        words += f" of {len(formulas)} formulas"
    best = [
        r
        for r in data.rows
        if isinstance(r.get("energy_above_hull_eV_atom"), int | float) and not r.get("doubt")
    ]
    if best:
        top = min(best, key=lambda r: float(r["energy_above_hull_eV_atom"]))
        above = float(top["energy_above_hull_eV_atom"])
        words += (
            f"; the lowest, {top['id']} ({top.get('formula', '')}), lies {number(abs(above), 3)} "
            f"eV/atom {'above' if above >= 0 else 'below'} the hull of known crystals"
        )
    return words + "."
