"""A small OPTIMADE database on loopback, in a process of its own: eight pages of three crystals."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PAGES, _EACH = 8, 3
#: Seconds that a page takes, so that a fetch can be stopped between two of them.
_SLOW_S = 0.02


def _entry(number: int) -> dict[str, Any]:
    edge = 5.0 + 0.05 * number
    attributes = {
        "lattice_vectors": [[edge, 0, 0], [0, edge, 0], [0, 0, edge]],
        "cartesian_site_positions": [[0, 0, 0], [edge / 2] * 3],
        "species_at_sites": ["Cs", "Cl"],
        "species": [
            {"name": name, "chemical_symbols": [name], "concentration": [1.0]}
            for name in ("Cs", "Cl")
        ],
        "chemical_formula_reduced": "ClCs",
        "nsites": 2,
        "dimension_types": [1, 1, 1],
        "structure_features": [],
    }
    return {"id": f"entry-{number:03d}", "type": "structures", "attributes": attributes}


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """One page, or what the client asks before."""
        address = urlsplit(self.path)
        if not address.path.endswith("/structures"):
            self.send_error(404)
            return
        time.sleep(_SLOW_S)
        page = int(parse_qs(address.query).get("page", ["0"])[0])
        host = f"http://{self.headers['Host']}/v1/structures"
        first = page * _EACH
        body = {
            "data": [_entry(i) for i in range(first, first + _EACH)],
            "links": {"next": f"{host}?page={page + 1}" if page + 1 < _PAGES else None},
            "meta": {
                "api_version": "1.1.0",
                "data_returned": _PAGES * _EACH,
                "more_data_available": page + 1 < _PAGES,
            },
        }
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.api+json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def database() -> Iterator[str]:
    """The address of the database while it runs."""
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=server.serve_forever, daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        process.kill()
        process.join()
        server.server_close()
