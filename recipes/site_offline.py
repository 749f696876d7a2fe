"""The search of the documentation from disk, without a script from elsewhere.

A hook of MkDocs: what the theme would load from the network for it is `docs/worker.js` instead.
"""

from __future__ import annotations

import re
from typing import Any

from mkdocs.utils import get_relative_url

_LOADED = re.compile(r'<script src="https://[^"]*iframe-worker[^"]*"></script>')


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """The page with the script of this site."""
    return _LOADED.sub(f'<script src="{get_relative_url("worker.js", page.url)}"></script>', output)


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for the page of addresses that do not exist."""
    return _LOADED.sub('<script src="worker.js"></script>', output_content)
