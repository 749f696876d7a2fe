"""The app as its user starts it, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

CIF = """data_NaCl
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0 0
"""


class Launched:
    """``with Launched(folder) as app``; requests carry the cookie and the origin of its page."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "crystal_diffusion", "app", "--folder", str(folder),
                "--port", "0", "--no-browser",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.told = self.process.stdout.readline()
        found = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)", self.told)
        if found is None:
            self.told += self.process.communicate(timeout=60)[0]
            self.process.stdout.close()
            raise AssertionError(self.told)
        self.base, self.token = found[1], found[2]
        self.address = f"{self.base}/?token={self.token}"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.get(self.address, timeout=60)
        self.session.headers["Origin"] = self.base

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.session.close()
        self.process.terminate()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def ask(self, method: str, path: str, **how: Any) -> requests.Response:
        return self.session.request(method, f"{self.base}{path}", timeout=60, **how)

    def upload(self, **files: str) -> str:
        key = str(self.ask("POST", "/api/uploads").json()["id"])
        for name, text in files.items():
            answer = self.ask("PUT", f"/api/uploads/{key}/{name}.cif", data=text.encode())
            assert answer.status_code == 200, answer.text
        return key

    def start(self, kind: str, **answers: Any) -> str:
        answer = self.ask("POST", "/api/jobs", json={"kind": kind, "answers": answers})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def job(self, key: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"/api/jobs/{key}").json())

    def wait(self, key: str, *states: str, seconds: float = 300) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while True:
            job = self.job(key)
            if job["state"] in states:
                return job
            assert time.monotonic() < until, job
            time.sleep(0.2)
