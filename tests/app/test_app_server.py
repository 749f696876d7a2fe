"""The app: who may ask, what is kept, and that neither a kill nor a restart loses a job."""

from __future__ import annotations

import io
import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

pytest.importorskip("fastapi", reason="needs the extra app")
pytest.importorskip("uvicorn", reason="needs the extra app")

from launch import CIF, Launched

from crystal_diffusion.app.jobs import Jobs
from crystal_diffusion.errors import InputError

OVER = ("done", "partial", "failed", "cancelled", "lost")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with Launched(tmp_path_factory.mktemp("app") / "jobs") as launched:
        yield launched


def plain(app: Launched, method: str, path: str, **headers: str) -> requests.Response:
    """A request without the cookie."""
    session = requests.Session()
    session.trust_env = False
    return session.request(method, f"{app.base}{path}", headers=headers, timeout=60)


def test_only_who_has_the_token_gets_in(app: Launched) -> None:
    assert plain(app, "GET", "/").status_code == 403
    assert plain(app, "GET", "/?token=wrong").status_code == 403
    assert plain(app, "GET", f"/api/jobs?token={app.token}").status_code == 403
    assert plain(app, "GET", "/web/app.js").status_code == 403
    name = f"crystal_diffusion_{app.base.rsplit(':', 1)[1]}"
    assert plain(app, "GET", "/", Cookie=f"{name}=wrong").status_code == 403
    answer = requests.get(app.address, allow_redirects=False, timeout=60)
    assert answer.status_code == 303
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "samesite=strict" in answer.headers["set-cookie"].lower()


def test_another_host_name_is_refused(app: Launched) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example"):
        assert app.ask("GET", "/api/jobs", headers={"Host": host}).status_code == 400
    assert app.ask("GET", "/api/jobs").status_code == 200


def test_another_page_cannot_write(app: Launched) -> None:
    form = {"kind": "generate", "answers": {"formula": "NaCl"}}
    before = len(app.ask("GET", "/api/jobs").json())
    for origin in ("https://evil.example", "null", f"{app.base}.evil.example", ""):
        headers = {"Origin": origin}
        assert app.ask("POST", "/api/jobs", json=form, headers=headers).status_code == 403
        assert app.ask("POST", "/api/uploads", headers=headers).status_code == 403
    session = requests.Session()
    session.trust_env = False
    session.cookies.update(app.session.cookies)
    assert session.post(f"{app.base}/api/jobs", json=form, timeout=60).status_code == 403
    assert len(app.ask("GET", "/api/jobs").json()) == before


def test_headers_keep_others_out(app: Launched) -> None:
    for path in ("/", "/web/app.js", "/api/jobs", "/nowhere"):
        answer = app.ask("GET", path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers
    page = app.ask("GET", "/").text + app.ask("GET", "/web/app.js").text
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


@pytest.mark.parametrize(
    "path",
    ["/web/..%2Fserver.py", "/web/../server.py", "/jobs/..%2F..%2Fetc/report", "/jobs/x/report",
     "/jobs/x/download", "/api/jobs/x", "/api/uploads/x/a.cif"],
)  # fmt: skip
def test_ids_and_names_lead_nowhere_else(app: Launched, path: str) -> None:
    method = "PUT" if "uploads" in path else "GET"
    assert app.ask(method, path, data=b"x").status_code == 404


def test_forms_that_are_none(app: Launched) -> None:
    for body in (b"", b"[]", b"{", b"[" * 60_000, b'{"kind": 3, "answers": {}}', b"\xff"):
        assert app.ask("POST", "/api/jobs", data=body).status_code == 422, body[:20]
    assert app.ask("POST", "/api/jobs", data=b" " * 100_000).status_code == 413
    answer = app.ask("POST", "/api/jobs", json={"kind": "train", "answers": {"files": "0" * 12}})
    assert answer.status_code == 422 and "drop them again" in answer.json()["error"]
    answer = app.ask("POST", "/api/jobs", json={"kind": "screen", "answers": {"run": "0" * 12}})
    assert answer.status_code == 422 and "no run" in answer.json()["error"]


def test_uploads_have_a_limit_and_plain_names(app: Launched) -> None:
    key = app.ask("POST", "/api/uploads").json()["id"]
    folder = app.folder / "uploads" / key
    large = b"x" * 50 * 2**20
    assert app.ask("PUT", f"/api/uploads/{key}/a.cif", data=large).status_code == 413
    pieces = (b"x" * 2**20 for _ in range(50))  # sent without saying how much it will be
    try:
        assert app.ask("PUT", f"/api/uploads/{key}/a.cif", data=pieces).status_code == 413
    except requests.ConnectionError:
        pass  # refused while it was still sending
    assert list(folder.iterdir()) == []
    for name in ("..%2F..%2Fx.cif", "%2Fetc%2Fpasswd", ".hidden", "a%00b.cif", "a.cif", "A.cif"):
        assert app.ask("PUT", f"/api/uploads/{key}/{name}", data=b"x").status_code in (200, 404)
    names = [file.name for file in folder.iterdir()]
    assert len({name.casefold() for name in names}) == len(names) >= 4
    assert not any(name.startswith(".") or "/" in name for name in names)
    assert all(file.resolve().parent == folder.resolve() for file in folder.iterdir())


def test_a_job_from_form_to_download(app: Launched) -> None:
    key = app.start("generate", formula="NaCl", n="2")
    job = app.wait(key, *OVER)
    assert job["state"] == "done", job
    assert job["has_report"] and job["has_run"] and "2 crystals" in job["log"]
    report = app.ask("GET", f"/jobs/{key}/report")
    policy = report.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts") and "allow-same-origin" not in policy
    assert "NaCl" in report.text
    planted = app.folder / "jobs" / key / "run" / "planted"
    planted.symlink_to("/etc/passwd")
    archive = zipfile.ZipFile(io.BytesIO(app.ask("GET", f"/jobs/{key}/download").content))
    names = archive.namelist()
    assert archive.testzip() is None
    assert any(name.endswith("manifest.json") for name in names)
    assert sum(name.endswith(".cif") for name in names) >= 2
    assert not any("planted" in name for name in names)
    other = app.wait(app.start("generate", formula="NaCl", n="2"), *OVER)
    seen = app.ask("GET", f"/api/compare?ids={key},{other['id']}").json()
    assert [side["crystals"] for side in seen["runs"]] == [2, 2]
    assert [0, 1, 2] in seen["common"] and [1, 0, 2] in seen["common"]
    events = app.ask("GET", f"/api/jobs/{key}/events").text
    assert events.startswith("data: ") and '"state": "done"' in events
    assert app.ask("DELETE", f"/api/jobs/{other['id']}").status_code == 200
    assert not (app.folder / "jobs" / other["id"]).exists()


def test_a_refused_request_says_why(app: Launched) -> None:
    key = app.start("generate", formula="Xx2O3")
    job = app.wait(key, *OVER)
    assert job["state"] == "failed" and job["problem"].startswith("error:"), job
    assert "Xx" in job["problem"]


def test_a_killed_worker_is_told_and_the_next_job_runs(app: Launched) -> None:
    key = app.start("generate", formula="NaCl", n="5000")
    app.wait(key, "running")
    waiting = app.start("check", files=app.upload(one=CIF))
    assert app.job(waiting)["state"] == "queued"
    os.kill(_pid(app, key), signal.SIGKILL)
    lost = app.wait(key, *OVER)
    assert lost["state"] == "lost" and "killed" in lost["problem"]
    done = app.wait(waiting, *OVER)
    assert done["state"] == "done" and "1" in done["log"]


def test_results_in_use_are_not_removed(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs", at_once=0)  # nothing is started
    first = jobs.add("generate", {"formula": "NaCl", "n": "2"})
    jobs.stop(first.id)
    second = jobs.add("screen", {"run": first.id})
    with pytest.raises(InputError, match="uses its results"):
        jobs.remove(first.id)
    assert jobs.place(first.id).is_dir()
    jobs.stop(second.id)
    jobs.remove(first.id)
    assert not jobs.place(first.id).exists()
    jobs.close()


def test_stop_keeps_what_is_finished(app: Launched) -> None:
    key = app.start("generate", elements="Na,Cl", n="4000")
    while not (app.job(key)["progress"] or {}).get("done"):
        assert app.job(key)["state"] == "running"
    app.ask("POST", f"/api/jobs/{key}/stop")
    job = app.wait(key, *OVER)
    assert job["state"] == "cancelled" and job["has_run"] and job["has_report"], job
    queued = [app.start("generate", formula="NaCl", n="4000") for _ in range(2)]
    app.ask("POST", f"/api/jobs/{queued[1]}/stop")
    assert app.job(queued[1])["state"] == "cancelled"
    for _ in range(2):  # the second time: at once
        app.ask("POST", f"/api/jobs/{queued[0]}/stop")
    assert app.wait(queued[0], *OVER, seconds=60)["state"] == "cancelled"


def test_jobs_outlive_the_app(tmp_path: Path) -> None:
    with Launched(tmp_path / "jobs") as first:
        key = first.start("check", files=first.upload(one=CIF))
        later = first.start("check", files=first.upload(two=CIF))
        first.wait(key, "running")
        second_app = pytest.raises(AssertionError, Launched, tmp_path / "jobs")
        assert "another command is writing" in str(second_app.value)
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(60)
    with Launched(tmp_path / "jobs") as second:
        assert second.token != first.token
        assert plain(second, "GET", "/", Cookie=f"x={first.token}").status_code == 403
        assert second.wait(key, *OVER)["state"] == "done"
        assert second.wait(later, *OVER)["state"] == "done"


def _pid(app: Launched, key: str) -> int:
    import sqlite3

    table = sqlite3.connect(app.folder / "jobs.sqlite")
    try:
        return int(table.execute("SELECT pid FROM jobs WHERE id = ?", (key,)).fetchone()[0])
    finally:
        table.close()
