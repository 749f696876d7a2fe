"""How fast a database is fetched: an OPTIMADE server on this machine, one kill on the way.

    python benchmarks/fetch_speed.py ../shared/data/mp_2025/train_le20.parquet -n 20000

The server is a process of its own that answers from memory, so the figures are what the client
costs. One fetch runs through; another is killed with SIGKILL after a third of the pages and then
finished; both tables must be equal.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import gemmi
import numpy as np
import pyarrow.parquet as pq
from machine import describe

from crystal_diffusion.data.sources.journal import journal_path
from crystal_diffusion.data.tables import parquet_arrays

PAGE = 100


def entries_of(table: Path, count: int) -> list[dict[str, object]]:
    """Random rows of the table as OPTIMADE structures."""
    arrays = parquet_arrays(table)
    rows = np.random.default_rng(0).choice(len(arrays), min(count, len(arrays)), replace=False)
    found: list[dict[str, object]] = []
    for row in rows:
        crystal = arrays.crystal(int(row))
        symbols = [gemmi.Element(int(z)).name for z in crystal.atomic_numbers]
        attributes = {
            "lattice_vectors": crystal.lattice.tolist(),
            "cartesian_site_positions": (crystal.frac_coords @ crystal.lattice).tolist(),
            "species_at_sites": symbols,
            "species": [
                {"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in set(symbols)
            ],
            "nsites": len(symbols),
        }
        found.append({"id": crystal.id, "type": "structures", "attributes": attributes})
    return found


def serve(entries: list[dict[str, object]], port: Connection) -> None:
    """Answer until the process is ended."""
    pages = [json.dumps(entries[i : i + PAGE])[1:-1].encode() for i in range(0, len(entries), PAGE)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            number = int(parse_qs(parts.query).get("page", ["0"])[0])
            here = f"http://127.0.0.1:{self.server.server_port}/v1/structures"  # type: ignore[attr-defined]
            following = f'"{here}?page={number + 1}"' if number + 1 < len(pages) else "null"
            links = f'], "links": {{"next": {following}}}, "meta": {{"data_returned": '
            body = b'{"data": [' + pages[number] + f"{links}{len(entries)}}}}}".encode()
            fine = parts.path == "/v1/structures"
            self.send_response(200 if fine else 404)
            self.send_header("Content-Length", str(len(body) if fine else 0))
            self.end_headers()
            if fine:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


def fetch(address: str, out: Path, kill_after: int | None = None) -> float:
    """Seconds that the command took; with ``kill_after``, until it was killed."""
    command = [sys.executable, "-m", "crystal_diffusion", "fetch", "optimade", "all"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--provider", address, "--out", str(out), "--quiet"])
    while process.poll() is None:
        journal = journal_path(out)
        if kill_after is not None and journal.exists():
            if journal.read_bytes().count(b"\n") > kill_after:
                process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    if kill_after is None and process.returncode not in (0, 1):
        raise SystemExit(f"the fetch ended with {process.returncode}")
    return time.perf_counter() - began


def main() -> None:
    """Print times and sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("-n", type=int, default=20_000)
    options = parser.parse_args()
    entries = entries_of(options.table, options.n)
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(entries, there), daemon=True)
    server.start()
    address = f"http://127.0.0.1:{here.recv()}"
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder) / "whole.parquet", Path(folder) / "parts.parquet"
        seconds = fetch(address, whole)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{len(entries)} crystals in {seconds:.1f} s ({usage.ru_utime + usage.ru_stime:.1f} s "
            f"of processor), {len(entries) / seconds:.0f} a second, at most "
            f"{usage.ru_maxrss / 1024:.0f} MB; table of {os.path.getsize(whole) / 1e6:.1f} MB"
        )
        fetch(address, parts, kill_after=len(entries) // PAGE // 3)
        kept = journal_path(parts).read_bytes().count(b"\n") - 1
        fetch(address, parts)
        columns = ["material_id", "a", "b", "c", "alpha", "beta", "gamma", "frac_coords"]
        one, two = (pq.read_table(path, columns=columns) for path in (whole, parts))
        print(f"killed with {kept} pages kept, then finished: tables equal: {one.equals(two)}")
    server.terminate()


if __name__ == "__main__":
    main()
