"""HTML documents that need nothing but themselves: no network, no server, no second file."""

from __future__ import annotations

import functools
import html
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_diffusion.files import make_folder, write_text

if TYPE_CHECKING:
    from crystal_diffusion.viewer.scene import Scene

#: The browser itself refuses to load anything from elsewhere.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
)


@functools.cache
def asset(name: str) -> str:
    """A script or style sheet of this package."""
    return (resources.files("crystal_diffusion.viewer") / "web" / name).read_text("utf-8")


def escape(text: object) -> str:
    """Text made safe for HTML and for attributes."""
    return html.escape(str(text), quote=True)


def data_block(name: str, data: Any) -> str:
    """JSON inside the page, to be read by its scripts."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    text = text.replace("<", "\\u003c")  # no "</script>" may end the block
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


def document(title: str, body: str, *, styles: str, scripts: str) -> str:
    """A whole page; ``body`` is the body element, the scripts go to its end."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{styles}</style>\n</head>\n"
        f"{body.removesuffix('</body>')}<script>\n{scripts}</script>\n</body>\n</html>\n"
    )


def framed(page: str, title: str, height: int) -> str:
    """A page inside another one, such as a notebook: styles and scripts stay apart."""
    return (
        f'<iframe srcdoc="{escape(page)}" title="{escape(title)}" '
        f'style="width:100%;height:{int(height)}px;border:0" loading="lazy"></iframe>'
    )


def legend_html(scene: Scene) -> str:
    """Colours and names of the elements of a scene."""
    items = "".join(
        f'<li><i style="background:{colour}"></i>{escape(symbol)}</li>'
        for _, symbol, colour, _ in scene.legend
    )
    return f'<ul class="legend" aria-label="Elements">{items}</ul>'


def write_page(path: Path, page: str) -> Path:
    """Write a page whole or not at all.

    Raises:
        InputError: when the file cannot be written.
    """
    make_folder(path.parent)
    write_text(path, page, flush=False)
    return path
