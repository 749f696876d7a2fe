"""The app's server: a page, its data, its jobs, for one user on this machine.

It listens on this machine only. Each launch has a token; the address that the command prints
carries it once and gets a cookie for it that other sites cannot send (SameSite=Strict). Requests
for another host name are refused (DNS rebinding), writes from another origin too. Pages made from
crystals are shown in a sandbox without access to the app. Requests name ids, never paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import secrets
import shutil
import sqlite3
import threading
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.middleware.trustedhost import TrustedHostMiddleware

from crystal_diffusion.app.compare import compare
from crystal_diffusion.app.forms import FORMS, spoken
from crystal_diffusion.app.jobs import Job, Jobs
from crystal_diffusion.errors import CrystalDiffusionError
from crystal_diffusion.files import below, file_name, make_folder

log = logging.getLogger(__name__)

#: Bytes of all files of one upload, and how many there may be.
LARGEST_UPLOAD, MOST_FILES = 20 * 2**20, 5_000
#: Bytes of a filled form.
_LARGEST_FORM = 64 * 2**10
_WEB = Path(__file__).parent / "web"
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
}
_OWN = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
#: Reports are whole pages with their script inside; they get no origin, so no cookie and no data.
_SANDBOX = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; frame-ancestors 'self'"
)
Next = Callable[[Request], Awaitable[Response]]


def create_app(jobs: Jobs, token: str, port: int) -> FastAPI:
    """The application for one folder of jobs.

    Args:
        jobs: the table.
        token: of this launch.
        port: it will listen on, for the origin of requests and the name of the cookie.
    """
    cookie = f"crystal_diffusion_{port}"
    origins = {f"http://127.0.0.1:{port}", f"http://localhost:{port}"}
    app = FastAPI(title="crystal-diffusion", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def guard(request: Request, call_next: Next) -> Response:
        """Token, origin and the headers that keep others out."""
        given = request.query_params.get("token")
        if request.method == "GET" and request.url.path == "/" and given is not None:
            if not secrets.compare_digest(given.encode(), token.encode()):
                return _refused()
            answer: Response = RedirectResponse("/", 303)
            answer.set_cookie(cookie, token, httponly=True, samesite="strict", path="/")
            return _headed(answer)
        held = request.cookies.get(cookie, "")
        if not secrets.compare_digest(held.encode(), token.encode()):
            return _refused()
        if request.method not in ("GET", "HEAD") and request.headers.get("origin") not in origins:
            return _headed(JSONResponse({"error": "This request comes from another page."}, 403))
        return _headed(await call_next(request))

    @app.exception_handler(CrystalDiffusionError)
    async def told(_: Request, error: Exception) -> Response:
        """A known error becomes its sentence."""
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(sqlite3.Error)
    async def untold(_: Request, error: Exception) -> Response:
        """The table of jobs cannot be read or written: a full disk, a damaged file."""
        text = f"{jobs.folder / 'jobs.sqlite'}: cannot be used ({error}); free some space."
        return JSONResponse({"error": text}, 507)

    # Added last, so asked first: a wrong host learns nothing.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    _add_pages(app, jobs)
    _add_jobs(app, jobs)
    _add_uploads(app, jobs)
    return app


def _refused() -> Response:
    text = (
        "This page opens with the address that `crystal-diffusion app` prints when it starts; "
        "after a new start the old address no longer works."
    )
    return _headed(PlainTextResponse(text, 403))


def _headed(answer: Response) -> Response:
    answer.headers.setdefault("Content-Security-Policy", _OWN)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _job(jobs: Jobs, key: str) -> Job:
    try:
        return jobs.get(key)
    except KeyError:
        raise HTTPException(404, "There is no such job.") from None


def _add_pages(app: FastAPI, jobs: Jobs) -> None:
    @app.get("/")
    def index() -> Response:
        return HTMLResponse((_WEB / "index.html").read_text(encoding="utf-8"))

    @app.get("/web/{name}")
    def web(name: str) -> Response:
        file = _WEB / name
        if file.suffix not in _TYPES or file.parent != _WEB or not file.is_file():
            raise HTTPException(404, "There is no such page.")
        return FileResponse(file, media_type=_TYPES[file.suffix])

    @app.get("/jobs/{key}/report")
    def report(key: str) -> Response:
        folder = jobs.result(_job(jobs, key))
        file = folder / "report.html" if folder else None
        if file is None or not file.is_file():
            raise HTTPException(404, "This job has no report.")
        page = file.read_text(encoding="utf-8", errors="replace")
        return HTMLResponse(page, headers={"Content-Security-Policy": _SANDBOX})

    @app.get("/jobs/{key}/download")
    def download(key: str) -> Response:
        job = _job(jobs, key)
        folder = jobs.result(job)
        if folder is None or not folder.is_dir():
            raise HTTPException(404, "This job has nothing to download.")
        name = f"crystal-diffusion-{job.kind}-{job.id}"
        return StreamingResponse(
            _zipped(folder, name),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}.zip"'},
        )


class _Pipe(io.RawIOBase):
    """What was written since it was last asked for."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.length

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self.parts.append(raw)
        self.length += len(raw)
        return len(raw)

    def taken(self) -> bytes:
        raw, self.parts = b"".join(self.parts), []
        return raw


def _zipped(folder: Path, name: str) -> Iterator[bytes]:
    """A folder as a zip file, piece by piece; links in it are left out."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_symlink() or not file.is_file() or file.name.startswith("."):
                continue
            archive.write(file, f"{name}/{file.relative_to(folder).as_posix()}")
            yield pipe.taken()
    yield pipe.taken()


def _add_jobs(app: FastAPI, jobs: Jobs) -> None:
    @app.get("/api/info")
    def info() -> dict[str, Any]:
        """What the page needs to draw its forms."""
        from crystal_diffusion import __version__
        from crystal_diffusion.energy.potentials import default_potential

        return {
            "version": __version__,
            "folder": str(jobs.folder.resolve()),
            "forms": [one.to_dict() for one in FORMS],
            "potential": default_potential() or "",
            "largest_upload": LARGEST_UPLOAD,
        }

    @app.get("/api/jobs")
    def listed() -> list[dict[str, Any]]:
        return [jobs.view(job, log=False) for job in jobs.all()]

    @app.post("/api/preview")
    async def preview(request: Request) -> dict[str, str]:
        """The command line of a form as it is filled now, or what is wrong with it."""
        filled = await _form(request)
        try:
            planned = jobs.plan(filled["kind"], filled["answers"], "NEW")
        except CrystalDiffusionError as error:
            return {"command": "", "problem": str(error)}
        return {"command": spoken(planned.commands), "problem": ""}

    @app.post("/api/jobs")
    async def add(request: Request) -> dict[str, Any]:
        filled = await _form(request)
        return jobs.view(jobs.add(filled["kind"], filled["answers"]))

    @app.get("/api/jobs/{key}")
    def one(key: str) -> dict[str, Any]:
        return jobs.view(_job(jobs, key)) | {"answers": jobs.answers(key)}

    @app.post("/api/jobs/{key}/stop")
    def stop(key: str) -> dict[str, Any]:
        _job(jobs, key)
        jobs.stop(key)
        return jobs.view(_job(jobs, key))

    @app.delete("/api/jobs/{key}")
    def remove(key: str) -> dict[str, Any]:
        _job(jobs, key)
        jobs.remove(key)
        return {"removed": key}

    @app.get("/api/jobs/{key}/events")
    async def events(key: str, request: Request) -> Response:
        _job(jobs, key)
        return StreamingResponse(_told(jobs, key, request), media_type="text/event-stream")

    @app.get("/api/compare")
    def compared(ids: str) -> dict[str, Any]:
        """Runs side by side."""
        keys = [key for key in ids.split(",") if key][:6]
        runs = []
        for key in keys:
            job = _job(jobs, key)
            folder = jobs.result(job)
            if folder is None:
                raise HTTPException(422, f"{job.title} has no crystals.")
            runs.append((key, job.title, folder))
        return compare(runs).to_dict()


async def _told(jobs: Jobs, key: str, request: Request) -> AsyncIterator[str]:
    """A job each time that it changed, until it is over."""
    last = ""
    while not await request.is_disconnected():
        try:
            job = jobs.get(key)
        except KeyError:
            return
        text = json.dumps(jobs.view(job))
        if text != last:
            last = text
            yield f"data: {text}\n\n"
        if job.is_over:
            return
        await asyncio.sleep(0.4)


async def _form(request: Request) -> dict[str, Any]:
    """A filled form.

    Raises:
        HTTPException: when it is none.
    """
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > _LARGEST_FORM:
            raise HTTPException(413, "The form is too large.")
    try:
        filled = json.loads(raw)
    except (ValueError, RecursionError):
        raise HTTPException(422, "The form is no JSON.") from None
    if (
        not isinstance(filled, dict)
        or not isinstance(filled.get("kind"), str)
        or not isinstance(filled.get("answers"), dict)
    ):
        raise HTTPException(422, "The form has no kind or no answers.")
    return filled


def _add_uploads(app: FastAPI, jobs: Jobs) -> None:
    @app.post("/api/uploads")
    def begin() -> dict[str, str]:
        key = secrets.token_hex(6)
        make_folder(below(jobs.folder, "uploads", key))
        return {"id": key}

    @app.put("/api/uploads/{key}/{name}")
    async def put(key: str, name: str, request: Request) -> dict[str, Any]:
        """One file; refused as soon as all together are too large."""
        folder = below(jobs.folder, "uploads", key)
        if not folder.is_dir():
            raise HTTPException(404, "There is no such upload.")
        there = [file for file in folder.iterdir() if file.is_file()]
        held = sum(file.stat().st_size for file in there)
        announced = request.headers.get("content-length", "0")
        over = held + (int(announced) if announced.isdigit() else 0) > LARGEST_UPLOAD
        if over or len(there) >= MOST_FILES:
            raise HTTPException(413, _too_large())
        plain = file_name(name)
        taken = {file.name.casefold() for file in there}
        number = 2
        while plain.casefold() in taken:
            plain, number = f"{number}-{file_name(name)}", number + 1
        part = below(folder, f".{secrets.token_hex(6)}.part")
        try:
            with part.open("xb") as file:
                async for piece in request.stream():
                    held += len(piece)
                    if held > LARGEST_UPLOAD:
                        raise HTTPException(413, _too_large())
                    file.write(piece)
            part.replace(below(folder, plain))
        except OSError as error:
            raise HTTPException(507, f"The file cannot be kept ({error.strerror}).") from error
        finally:
            part.unlink(missing_ok=True)
        return {"name": plain}

    @app.delete("/api/uploads/{key}")
    def forget(key: str) -> dict[str, str]:
        shutil.rmtree(below(jobs.folder, "uploads", key), ignore_errors=True)
        return {"removed": key}


def _too_large() -> str:
    return (
        f"More than {LARGEST_UPLOAD // 2**20} MB or {MOST_FILES} files; use the command line, "
        "which reads folders of any size."
    )


def serve(
    folder: Path,
    *,
    port: int = 8765,
    at_once: int = 1,
    ready: Callable[[str], None] = print,
) -> None:
    """Run the app until Ctrl-C; jobs that run go on and are found again at the next start.

    Args:
        folder: for jobs, uploads and results.
        port: to listen on, on this machine only; the next free one where it is taken, 0 for any.
        at_once: jobs that run side by side.
        ready: told the address with its token.

    Raises:
        InputError: when another app uses the folder.
    """
    import uvicorn

    from crystal_diffusion.files import locked

    with locked(make_folder(folder)):
        jobs = Jobs(folder, at_once)
        listening = _socket(port)
        found = int(listening.getsockname()[1])
        token = secrets.token_urlsafe(24)
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.5):
                try:
                    jobs.look()
                # Tried again: a disk that is full may have room in a moment.
                except (sqlite3.Error, CrystalDiffusionError, OSError) as error:
                    log.warning("the jobs cannot be looked at: %s", error)

        watcher = threading.Thread(target=watch, name="jobs", daemon=True)
        watcher.start()
        ready(f"http://127.0.0.1:{found}/?token={token}")
        config = uvicorn.Config(
            create_app(jobs, token, found),
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        try:
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            ended.set()
            watcher.join()
            jobs.close()


def _socket(port: int) -> Any:
    """A listening socket on this machine; the next ports are tried where one is taken."""
    import socket

    from crystal_diffusion.errors import InputError

    for one in [0] if port == 0 else range(port, min(port + 20, 65536)):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(("127.0.0.1", one))
            made.listen(128)
        except OSError:
            made.close()
            continue
        return made
    raise InputError(f"--port: {port} and the 19 after it are taken; give another, or 0 for any.")
