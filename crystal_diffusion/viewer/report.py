"""`write_report`: one page with everything that is known of a run, to be opened from disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from crystal_diffusion.energy.published_hull import LIKELY
from crystal_diffusion.errors import InputError
from crystal_diffusion.runs.columns import COLUMNS, unlisted_predictions, used_columns
from crystal_diffusion.viewer import page, report_parts
from crystal_diffusion.viewer.formulas import formula_html
from crystal_diffusion.viewer.powder import powder_pattern
from crystal_diffusion.viewer.report_data import ReportData, equals, gather
from crystal_diffusion.viewer.scene import Scene, element_table, make_scene

#: Peaks kept of a powder pattern: the highest ones.
_MOST_PEAKS = 60
#: Crystals of more atoms are listed but not drawn, as the page would grow too heavy.
_MOST_ATOMS = 400

_FACTS = tuple(column for column in COLUMNS if "card" in column.places)

_SECTIONS = (
    ("asked", "What was asked", report_parts.asked),
    ("how", "How it was made", report_parts.how),
    ("funnel", "What was kept", report_parts.funnel),
)
_CHARTS = (
    ("predicted", "Asked against predicted", report_parts.predicted),
    ("hull", "Stability", report_parts.hulls),
    ("distributions", "Against known crystals", report_parts.distributions),
)


@runtime_checkable
class _HasPath(Protocol):
    path: Path


def write_report(run: Any, path: str | Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        run: a ``RunFolder`` or its path; also a folder made by ``crystal-diffusion screen``.
        path: the page; ``report.html`` in the folder if not given.

    Returns:
        The path of the page.

    Raises:
        InputError: when the folder is no run, or the page cannot be written.
    """
    if not isinstance(run, str | Path | _HasPath):
        raise InputError(f"run is a {type(run).__name__}, expected a RunFolder or the path of one.")
    folder = Path(run) if isinstance(run, str | Path) else Path(run.path)
    data = gather(folder)
    target = folder / "report.html" if path is None else Path(path)
    return page.write_page(target, report_html(data))


def report_html(data: ReportData) -> str:
    """The page as text."""
    crystals, strings, numbers = _crystals(data)
    columns = used_columns(data.rows)
    title = f"Crystals: {data.path.resolve().name}"
    sections = "\n".join(_section(*entry, data) for entry in _SECTIONS)
    asked = bool(data.manifest.get("properties"))
    charts = "\n".join(
        _section(*entry, data) for entry in _CHARTS if asked or entry[0] != "predicted"
    )
    gaps = "".join(f"<li>{page.escape(gap)}</li>" for gap in data.gaps)
    links = "".join(
        f'<a href="#{name}">{label}</a>'
        for name, label in (
            ("best", "Best"),
            ("gallery", "Gallery"),
            ("table", "Table"),
            ("hull", "Stability"),
            ("distributions", "Distributions"),
        )
    )
    body = f"""<body>
<a class="skip" href="#best">Skip to the crystals</a>
<header class="top"><div><h1>{page.escape(title)}</h1>
<p class="quiet">{formula_html(report_parts.headline(data))}</p></div>
<nav aria-label="Sections">{links}</nav></header>
<noscript><p class="quiet">Without scripts the figures and the table are complete; pictures, sorting
and cards need them.</p></noscript>
<main>
<section id="best" aria-labelledby="best-title"><h2 id="best-title">The best</h2>
<div class="cards best" id="best-cards"></div></section>
<details class="made"><summary>What was asked, how it was made, what was kept</summary>
<div class="overview" id="overview">
{sections}
</div></details>
{f'<ul class="quiet gaps">{gaps}</ul>' if gaps else ""}
{_browser(data, len(crystals))}
{charts}
</main>
<dialog id="card" aria-labelledby="card-title"></dialog>
{page.data_block("crystals-data", crystals)}
{page.data_block("strings-data", strings)}
{page.data_block("elements", element_table(numbers))}
{page.data_block("columns-data", [[c.name, c.digits is None] for c in columns])}
</body>"""
    return page.document(
        title,
        body,
        styles=page.asset("base.css") + page.asset("report.css"),
        scripts=page.asset("cell.js") + page.asset("report.js"),
    )


def _section(name: str, label: str, make: Any, data: ReportData) -> str:
    return (
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{label}</h2>\n'
        f"{make(data)}</section>"
    )


def _browser(data: ReportData, count: int) -> str:
    """Controls, gallery and table: all show the same crystals in the same order."""
    options = [("all", "all crystals")]
    if any(row.get("valid") is not None for row in data.rows):
        options.append(("valid", "valid"))
    if data.screened:
        options += [("ranked", "kept and ranked"), ("converged", "relaxation converged")]
        options += [("stable", "at most 0.1 eV/atom above hull")]
        if any(row.get("published_near_hull_probability") is not None for row in data.rows):
            likely = f"near the published hull with a chance of {LIKELY:g} or more"
            options.append(("likely", likely))
    if any(row.get("novel") is not None for row in data.rows):
        options.append(("novel", "new"))
    if any(row.get("duplicate_of") for row in data.rows) or _repeats(data):
        options.append(("distinct", "first of each group"))
    choices = "".join(f'<option value="{v}">{t}</option>' for v, t in options)
    # The order of a screened run is that of relaxed crystals, so these are what is shown.
    first, second = ("", " checked") if data.screened else (" checked", "")
    state = (
        '<fieldset class="state"><legend class="hidden">Pictures show</legend>'
        f'<label><input type="radio" name="state" value="made"{first}> as made</label>'
        f'<label><input type="radio" name="state" value="relaxed"{second}> relaxed</label>'
        "</fieldset>"
        if data.relaxed and data.made
        else ""
    )
    return f"""<section id="gallery" aria-labelledby="gallery-title">
<h2 id="gallery-title">Crystals</h2>
<div class="controls">
<label>Find <input type="search" id="find" placeholder="Formula, id, group, density&lt;4"></label>
<label>Show <select id="which">{choices}</select></label>
{state}
<p id="count" role="status" class="quiet">{count} of {count} crystals</p>
</div>
<div class="cards" id="cards"></div>
<p class="more"><button type="button" id="more" hidden>Show more</button></p>
</section>
<section id="table" aria-labelledby="table-title"><h2 id="table-title">Table</h2>
{report_parts.table(data)}</section>"""


def _repeats(data: ReportData) -> bool:
    groups = [equals(row) for row in data.rows if row.get("group") is not None]
    return len(set(groups)) < len(groups)


class _Strings:
    """Each text once; crystals refer to it by number."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._place: dict[str, int] = {}

    def __call__(self, text: object) -> int:
        words = str(text)
        if words not in self._place:
            self._place[words] = len(self.all)
            self.all.append(words)
        return self._place[words]


def _crystals(data: ReportData) -> tuple[list[dict[str, Any]], list[str], np.ndarray]:
    """What the scripts need of every crystal, in the order of the rows."""
    strings, numbers = _Strings(), [np.zeros(0, int)]
    columns = used_columns(data.rows)
    seen: set[Any] = set()
    crystals = []
    for row in data.rows:
        name = row["id"]
        entry: dict[str, Any] = {
            "id": name,
            "formula": str(row.get("formula", "")),
            "values": [_json_value(row.get(c.name)) for c in columns],
            "symbol": report_parts.group_symbol(row.get("space_group_0.1")),
            "flags": _flags(row, seen),
            "facts": [
                [strings(c.heading), strings(report_parts.shown(row.get(c.name), c))]
                for c in (*_FACTS, *unlisted_predictions(row))
                if row.get(c.name) not in (None, "")
            ],
            "checks": [_check(check, strings) for check in row.get("checks") or []],
        }
        if fame := _fame(row):
            entry["fame"] = fame
        if row.get("warnings"):
            entry["warnings"] = [strings(w) for w in row["warnings"]]
        last: Scene | None = None
        for state, found in (("made", data.made), ("relaxed", data.relaxed)):
            structure = found.get(name)
            if structure is None or len(structure) > _MOST_ATOMS:
                continue
            scene = make_scene(structure, title=entry["formula"])
            numbers.append(scene.numbers)
            entry[state] = scene.to_dict()
            entry[state]["words"] = scene.description
            last, entry["powder_of"] = scene, state  # the relaxed crystal where there is one
        if last is not None:
            entry["powder"] = _powder(last)
        crystals.append(entry)
    return crystals, strings.all, np.unique(np.concatenate(numbers))


def _fame(row: Mapping[str, Any]) -> str:
    """Whether a crystal is known, and as what; empty where nothing was compared."""
    novel, copied = row.get("novel"), row.get("copy_of_training")
    if novel is None and copied is None:
        return ""
    if (not novel) if novel is not None else copied:
        name = row.get("nearest_known_id") or row.get("nearest_train_id")
        return f"known as {name}" if name else "known"
    return "new"


def _json_value(value: Any) -> Any:
    """A value as it sorts: numbers and texts; yes before no; nothing where it is not finite."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if value is None or isinstance(value, int):
        return value
    return str(value)


def _flags(row: Mapping[str, Any], seen: set[Any]) -> str:
    """Which choices of "Show" hold this crystal."""
    flags = []
    if row.get("valid"):
        flags.append("valid")
    if row.get("rank") is not None:
        flags.append("ranked")
    if row.get("converged"):
        flags.append("converged")
    if row.get("novel"):
        flags.append("novel")
    above = row.get("energy_above_hull_eV_atom")
    if isinstance(above, int | float) and above <= 0.1 and not row.get("doubt"):
        flags.append("stable")
    chance = row.get("published_near_hull_probability")
    if isinstance(chance, int | float) and chance >= LIKELY and not row.get("doubt"):
        flags.append("likely")
    group = equals(row)
    if not row.get("duplicate_of") and (row.get("group") is None or group not in seen):
        flags.append("distinct")
    seen.add(group)
    return " ".join(flags)


def _check(check: Mapping[str, Any], strings: _Strings) -> list[Any]:
    """Name, passed, value, limit, unit, severity, reason (only of a failed one)."""
    value = check.get("value")
    if isinstance(value, float):
        value = f"{value:.4g}"
    passed = bool(check.get("passed"))
    return [
        strings(str(check.get("name", "")).replace("_", " ")),
        int(passed),
        strings("" if value is None else value),
        strings(check.get("limit", "")),
        strings(check.get("unit", "")),
        strings(check.get("severity", "")),
        strings("" if passed else check.get("reason", "")),
    ]


def _powder(scene: Scene) -> list[int]:
    """Angles in hundredths of a degree and heights in tenths of a percent, one after the other."""
    angles, heights = powder_pattern(scene.lattice, scene.frac_coords, scene.numbers, smallest=0.5)
    keep = np.sort(np.argsort(-heights)[:_MOST_PEAKS])
    pairs = np.column_stack([np.round(angles[keep] * 100), np.round(heights[keep] * 10)])
    return [int(v) for v in pairs.ravel()]
