"""Fetching from OPTIMADE: the reference server, and servers that misbehave, over real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from optimade_server import entry, two_hundred_crystals
from pytest_httpserver import HTTPServer
from typer.testing import CliRunner
from werkzeug import Request, Response

import crystal_diffusion as cd
from crystal_diffusion.cli import verbs
from crystal_diffusion.data.readers import iter_plain
from crystal_diffusion.data.sources.client import Patience
from crystal_diffusion.data.sources.fetching import fetch
from crystal_diffusion.data.sources.journal import journal_path
from crystal_diffusion.errors import InputError, SourceError

ROOT = Path(__file__).parents[2]
#: Waits that a test can afford.
QUICK = Patience(attempts=3, first_wait=0.01, longest_wait=5)
CRYSTALS = two_hundred_crystals()


def pages_of(count: int, each: int = 4) -> list[list[dict[str, Any]]]:
    entries = [entry(name, crystal, _test_gap=1.0) for name, crystal in CRYSTALS[: count * each]]
    return [entries[i * each : (i + 1) * each] for i in range(count)]


class Replay:
    """Pages of an OPTIMADE provider, behind addresses that count how often they were asked."""

    def __init__(self, server: HTTPServer, pages: list[list[dict[str, Any]]]) -> None:
        self.server, self.pages = server, pages
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.total: int | None = sum(len(page) for page in pages)
        #: page number -> what to answer instead, used up one after the other.
        self.instead: dict[int, list[Response]] = {}
        #: page number -> address of its next page.
        self.next: dict[int, Any] = {}
        server.no_handler_status_code = 404
        server.expect_request("/v1/structures").respond_with_handler(self.answer)

    @property
    def address(self) -> str:
        return self.server.url_for("").rstrip("/")

    def answer(self, request: Request) -> Response:
        number = int(request.args.get("page", 0))
        self.asked.append(str(number))
        self.headers.append(dict(request.headers))
        if self.instead.get(number):
            return self.instead[number].pop(0)
        more = number + 1 < len(self.pages)
        following = f"{self.address}/v1/structures?page={number + 1}" if more else None
        body = {
            "data": self.pages[number],
            "links": {"next": self.next.get(number, following)},
            "meta": {"data_returned": self.total, "provider": {"prefix": "rep"}},
        }
        return Response(json.dumps(body), content_type="application/vnd.api+json")


@pytest.fixture
def replay(httpserver: HTTPServer) -> Replay:
    return Replay(httpserver, pages_of(3))


@pytest.fixture
def elsewhere() -> Iterator[HTTPServer]:
    with HTTPServer() as server:
        yield server


def get(replay: Replay, out: Path, **options: Any) -> Any:
    return fetch("optimade", "all", out, provider=replay.address, **{"patience": QUICK, **options})


def ids(table: Path) -> list[str]:
    return pq.read_table(table)["material_id"].to_pylist()


class TestReferenceServer:
    def test_every_crystal_arrives_as_it_was(self, optimade_address: str, tmp_path: Path) -> None:
        out = tmp_path / "data.parquet"
        seen: list[tuple[int, int | None]] = []
        result = cd.data.fetch(
            "optimade",
            "all",
            out,
            provider=optimade_address,
            progress=lambda done, total: seen.append((done, total)),
        )
        assert result.crystals == result.announced == 200 and result.complete
        assert seen[0] == (20, 200) and seen[-1] == (200, 200)
        wanted = dict(CRYSTALS)
        for crystal in iter_plain(out):
            original = wanted[crystal.id]
            assert crystal.to_structure().matches(original) if crystal.id.endswith("LiF") else True
            assert abs(crystal.to_structure().volume - original.volume) < 1e-6
            assert crystal.atomic_numbers.tolist() == list(original.atomic_numbers)
            assert crystal.properties.keys() == {"_test_band_gap"}
            origin = crystal.provenance
            assert (origin.provider, origin.entry_id) == ("test", crystal.id)
            assert (origin.functional, origin.last_modified[:10]) == ("PBEsol", "2024-02-03")
            assert origin.retrieved_at.startswith("20")
        assert not journal_path(out).exists()

    def test_the_filter_is_passed_on(self, optimade_address: str, tmp_path: Path) -> None:
        text = 'elements HAS ALL "Li","O" AND nelements=2'
        result = fetch("optimade", text, tmp_path / "a.parquet", provider=optimade_address + "/v1")
        assert sorted(ids(result.out)) == ["cube/LiO", "salt/LiO"]
        assert result.origins[0].filter == text

    def test_a_filter_that_is_none_is_refused(self, optimade_address: str, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="does not accept the request.*correct the query"):
            fetch("optimade", "elements HAVE Li", tmp_path / "a.parquet", provider=optimade_address)

    def test_nothing_found(self, optimade_address: str, tmp_path: Path) -> None:
        out = tmp_path / "a.parquet"
        with pytest.raises(InputError, match="nothing was found"):
            fetch("optimade", 'elements HAS "Og"', out, provider=optimade_address)
        assert list(tmp_path.iterdir()) == []

    def test_limit_and_labels(self, optimade_address: str, tmp_path: Path) -> None:
        out = tmp_path / "a.parquet"
        result = fetch(
            "optimade",
            "all",
            out,
            provider=optimade_address,
            limit=7,
            properties=["_test_band_gap"],
        )
        assert result.crystals == 7 and result.complete and result.limited
        with pytest.raises(InputError, match="no property '_test_colour'; it has _test_band_gap"):
            fetch(
                "optimade",
                "all",
                tmp_path / "b.parquet",
                provider=optimade_address,
                properties=["_test_colour"],
            )

    def test_from_query_to_new_crystals(self, optimade_address: str, tmp_path: Path) -> None:
        """Acceptance: a database with 200 crystals, fetch, check, train, generate."""
        data, model, run = tmp_path / "data.parquet", tmp_path / "model", tmp_path / "run"
        steps = (
            ["fetch", "optimade", "nsites=2", "--out", str(data), "--provider", optimade_address],
            ["check", str(data)],
            [
                "train",
                str(data),
                "--out",
                str(model),
                "--steps",
                "30",
                "--dim",
                "32",
                "--layers",
                "1",
                "--device",
                "cpu",
            ],
            [
                "generate",
                str(model),
                "--formula",
                "NaCl",
                "-n",
                "2",
                "--seed",
                "1",
                "--device",
                "cpu",
                "--out",
                str(run),
            ],
            ["inspect", str(model)],
        )
        said = []
        for words in steps:
            done = CliRunner().invoke(verbs, words)
            assert done.exit_code in ((0, 1) if words[0] == "check" else (0,)), done.output
            said.append(done.output)
        assert "200 crystals in" in said[0] and "200 looked at" in said[1]
        for text in (said[0], said[1], said[4], (model / "model.md").read_text()):
            assert "200 crystals from test" in text or "180 crystals from test" in text
        assert len(list((run / "cif").glob("*.cif"))) == 2


class TestMisbehaviour:
    def test_busy_and_broken_answers_are_tried_again(self, replay: Replay, tmp_path: Path) -> None:
        whole = json.dumps({"data": replay.pages[1], "links": {}})
        replay.instead = {
            0: [Response(status=503), Response("{}", status=429, headers={"Retry-After": "0"})],
            1: [Response(whole[: len(whole) // 2]), Response(status=500)],
        }
        result = get(replay, tmp_path / "a.parquet")
        assert result.crystals == 12
        assert replay.asked == ["0", "0", "0", "1", "1", "1", "2"]

    def test_retry_after_is_obeyed(self, replay: Replay, tmp_path: Path) -> None:
        replay.instead = {1: [Response(status=429, headers={"Retry-After": "1"})]}
        began = time.monotonic()
        get(replay, tmp_path / "a.parquet")
        assert time.monotonic() - began >= 1
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 7200))
        replay.instead = {1: [Response(status=429, headers={"Retry-After": date})]}
        with pytest.raises(SourceError, match=r"asks to wait 7\d\d\d s.*4 entries are kept"):
            get(replay, tmp_path / "b.parquet")

    def test_a_body_shorter_than_announced(self, replay: Replay, tmp_path: Path) -> None:
        def short() -> Response:
            response = Response("{" + '"data": [' + "1," * 20)
            response.headers["Content-Length"] = "5000"
            return response

        replay.instead = {2: [short(), short(), short()]}
        with pytest.raises(SourceError, match=r"breaks off \(3 attempts\).*8 entries are kept"):
            get(replay, tmp_path / "a.parquet")
        assert get(replay, tmp_path / "a.parquet").resumed == 8

    def test_it_gives_up_and_goes_on_later(self, replay: Replay, tmp_path: Path) -> None:
        out = tmp_path / "a.parquet"
        replay.instead = {1: [Response(status=502) for _ in range(3)]}
        with pytest.raises(SourceError, match="answers 502.*4 entries are kept; the same command"):
            get(replay, out)
        assert not out.exists() and journal_path(out).exists()
        replay.asked.clear()
        result = get(replay, out)
        assert (result.crystals, result.resumed) == (12, 4)
        assert replay.asked == ["1", "2"]
        assert ids(out) == [name for name, _ in CRYSTALS[:12]]

    def test_a_killed_fetch_goes_on(self, replay: Replay, tmp_path: Path) -> None:
        out = tmp_path / "a.parquet"
        hold = threading.Event()
        plain = replay.answer

        def slow(request: Request) -> Response:
            if request.args.get("page") == "2" and not hold.is_set():
                hold.wait(60)
                return Response(status=503)
            return plain(request)

        replay.server.clear()
        replay.server.expect_request("/v1/structures").respond_with_handler(slow)
        command = [
            sys.executable,
            "-m",
            "crystal_diffusion",
            "fetch",
            "optimade",
            "all",
            "--provider",
            replay.address,
            "--out",
            str(out),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        journal = journal_path(out)
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") == 3):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        hold.set()
        with journal.open("ab") as file:
            file.write(b'{"cursor": "half a li')
        replay.asked.clear()
        result = get(replay, out)
        assert (result.crystals, result.resumed) == (12, 8) and replay.asked == ["2"]

    def test_two_at_once_are_refused(self, replay: Replay, tmp_path: Path) -> None:
        from crystal_diffusion.data.sources.journal import Journal

        out = tmp_path / "a.parquet"
        with Journal(out, {"any": 1}), pytest.raises(InputError, match="another process"):
            get(replay, out)

    def test_another_request_does_not_go_on(self, replay: Replay, tmp_path: Path) -> None:
        out = tmp_path / "a.parquet"
        replay.instead = {1: [Response(status=502) for _ in range(3)]}
        with pytest.raises(SourceError):
            get(replay, out)
        with pytest.raises(InputError, match="unfinished fetch of another request"):
            fetch("optimade", "nsites=2", out, provider=replay.address, patience=QUICK)

    def test_a_table_is_not_replaced_unasked(self, replay: Replay, tmp_path: Path) -> None:
        out = tmp_path / "a.parquet"
        get(replay, out)
        with pytest.raises(InputError, match="exists already, with just this request"):
            get(replay, out)
        assert get(replay, out, overwrite=True).crystals == 12

    @pytest.mark.parametrize("target", [0, 1])
    def test_paging_in_a_loop(self, replay: Replay, tmp_path: Path, target: int) -> None:
        replay.next = {1: f"{replay.address}/v1/structures?page={target}"}
        with pytest.raises(SourceError, match="again and again|nothing new"):
            get(replay, tmp_path / "a.parquet")
        assert len(replay.asked) < 10

    def test_endless_new_addresses_without_anything_new(
        self, replay: Replay, tmp_path: Path
    ) -> None:
        def endless(request: Request) -> Response:
            number = int(request.args.get("page", 0))
            replay.asked.append(str(number))
            body = {
                "data": replay.pages[0],
                "links": {"next": {"href": f"/v1/structures?page={number + 1}"}},
            }
            return Response(json.dumps(body))

        replay.server.clear()
        replay.server.expect_request("/v1/structures").respond_with_handler(endless)
        with pytest.raises(SourceError, match="nothing new"):
            get(replay, tmp_path / "a.parquet")
        assert len(replay.asked) == 4

    def test_the_key_stays_home(
        self, replay: Replay, elsewhere: HTTPServer, tmp_path: Path
    ) -> None:
        other = Replay(elsewhere, pages_of(3))
        replay.next = {1: {"href": f"{other.address}/v1/structures?page=2"}}
        out = tmp_path / "a.parquet"
        result = get(replay, out, key="SECRET-1")
        assert result.crystals == 12 and other.asked == ["2"]
        assert all(h.get("X-Api-Key") == "SECRET-1" for h in replay.headers)
        assert not any("SECRET-1" in str(h) for h in other.headers)
        for file in tmp_path.iterdir():
            assert b"SECRET-1" not in file.read_bytes()

    def test_the_key_does_not_follow_a_redirection(
        self, replay: Replay, elsewhere: HTTPServer, tmp_path: Path
    ) -> None:
        other = Replay(elsewhere, pages_of(3))
        place = f"{other.address}/v1/structures?page=1"
        replay.instead = {1: [Response(status=302, headers={"Location": place})]}
        assert get(replay, tmp_path / "a.parquet", key="SECRET-2").crystals == 12
        assert other.asked == ["1", "2"] and not any("SECRET-2" in str(h) for h in other.headers)

    def test_the_key_is_not_in_messages(self, replay: Replay, tmp_path: Path) -> None:
        said = json.dumps({"errors": [{"detail": "the key SECRET-3 has expired"}]})
        replay.instead = {0: [Response(said, status=403), Response(said, status=403)]}
        with pytest.raises(SourceError, match=r"refuses \(403: the key \*\*\* has expired"):
            get(replay, tmp_path / "a.parquet", key="SECRET-3")

    @pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[::1"])
    def test_links_that_are_no_web_addresses(
        self, replay: Replay, tmp_path: Path, place: str
    ) -> None:
        replay.next = {0: place}
        with pytest.raises(SourceError, match="must begin with https"):
            get(replay, tmp_path / "a.parquet")

    def test_redirections_without_end(self, replay: Replay, tmp_path: Path) -> None:
        here = f"{replay.address}/v1/structures"
        replay.instead = {0: [Response(status=302, headers={"Location": here}) for _ in range(9)]}
        with pytest.raises(SourceError, match="without end"):
            get(replay, tmp_path / "a.parquet")

    def test_no_network(self, tmp_path: Path) -> None:
        for address, words in (
            ("http://127.0.0.1:9", "cannot be reached .connection refused"),
            ("http://nowhere.invalid", "cannot be reached"),
        ):
            with pytest.raises(SourceError, match=words):
                fetch("optimade", "all", tmp_path / "a.parquet", provider=address, patience=QUICK)

    def test_what_is_no_optimade(self, replay: Replay, tmp_path: Path) -> None:
        for body, words in (
            ("<html>Welcome</html>", "no JSON but '<html>Welcome"),
            ('{"hello": 1}', "no OPTIMADE response"),
        ):
            replay.instead = {0: [Response(body), Response(body)]}
            with pytest.raises(SourceError, match=words):
                get(replay, tmp_path / "a.parquet")
        replay.server.clear()
        replay.server.no_handler_status_code = 404
        with pytest.raises(SourceError, match="nothing at /v1/structures"):
            get(replay, tmp_path / "a.parquet")

    def test_more_data_without_an_address(self, replay: Replay, tmp_path: Path) -> None:
        body = {
            "data": replay.pages[0],
            "links": {"next": None},
            "meta": {"more_data_available": True},
        }
        replay.instead = {0: [Response(json.dumps(body))]}
        with pytest.raises(SourceError, match="there is more but not where"):
            get(replay, tmp_path / "a.parquet")

    def test_fewer_than_announced_is_said(self, replay: Replay, tmp_path: Path) -> None:
        replay.total = 15
        words = ["fetch", "optimade", "all", "--provider", replay.address]
        done = CliRunner().invoke(verbs, [*words, "--out", str(tmp_path / "a.parquet")])
        assert done.exit_code == 1 and "announced 15 entries and sent 12" in done.output

    def test_entries_sent_twice_are_kept_once(self, replay: Replay, tmp_path: Path) -> None:
        replay.pages[1][0] = replay.pages[0][3]
        result = get(replay, tmp_path / "a.parquet")
        assert (result.crystals, result.repeated) == (11, 1)

    def test_bad_entries_are_listed(self, replay: Replay, tmp_path: Path) -> None:
        replay.pages[1][0]["attributes"]["species_at_sites"] = ["Li"]
        replay.pages[2][1] = {"id": "hollow"}
        replay.pages[2][2]["attributes"]["chemical_formula_reduced"] = None
        replay.pages[2][2]["attributes"]["species"][0].update(
            chemical_symbols=["Li", "Na"], concentration=[0.5, 0.5]
        )
        out = tmp_path / "a.parquet"
        result = get(replay, out)
        assert result.crystals == 9 and result.skipped_file is not None
        rows = [line.split("\t") for line in result.skipped_file.read_text().splitlines()[1:]]
        assert [row[0] for row in rows] == [
            replay.pages[1][0]["id"],
            "hollow",
            replay.pages[2][2]["id"],
        ]
        assert rows[2][1] == "partial occupancy"
        # The list beside the table is not taken for crystals.
        assert len(list(iter_plain(tmp_path))) == 9
        assert get(replay, out, overwrite=True, disorder="order").crystals == 10

    def test_an_old_server_that_lives_at_its_bare_address(
        self, httpserver: HTTPServer, tmp_path: Path
    ) -> None:
        body = json.dumps({"data": pages_of(1)[0], "links": {"next": None}, "meta": {}})
        httpserver.no_handler_status_code = 404
        httpserver.expect_request("/structures").respond_with_data(body)
        address = httpserver.url_for("").rstrip("/")
        result = fetch("optimade", "all", tmp_path / "a.parquet", provider=address, patience=QUICK)
        assert result.crystals == 4
        assert result.origins[0].provider == address.removeprefix("http://")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimade", "", "--provider", "mp"], "the filter is empty"),
        (["optimade", "all"], "give --provider"),
        (["optimade", "all", "--provider", "nobody"], "no known OPTIMADE provider"),
        (["optimade", "all", "--provider", "ftp://x.org"], "must begin with https"),
        (["elsewhere", "all"], "is no source"),
        (["optimade", "all", "--provider", "mp", "--out", "a.csv"], "must end in .parquet"),
        (["optimade", "all", "--provider", "mp", "--limit", "0"], "limit"),
        (["optimade", "all", "--provider", "mp", "--key-file", "none.txt"], "cannot be read"),
    ],
)
def test_wrong_arguments(words: list[str], message: str) -> None:
    done = CliRunner().invoke(verbs, ["fetch", *words])
    assert done.exit_code != 0
    assert message in str(done.exception) + done.output
