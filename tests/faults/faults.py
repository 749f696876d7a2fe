"""The fault campaign: kills, Ctrl-C, full disks, read-only folders and two writers at a time.

``python tests/faults/faults.py --kills 100 --verbs train,fetch``

With ``--state FILE`` the same command goes on where it was. Every verb is stopped at random
moments and started again with the same words until it ends by itself; what it leaves must be what
an undisturbed run leaves (crystals, ids, energies; weights bit for bit), and in between no reader
may take a part for the whole. Prints a table; exit code 1 where anything was lost, mixed up or read
as complete.
"""

from __future__ import annotations

import os

# Before numpy: a process that is forked may not have threads.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import contextlib
import json
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from children import Child, quiet, run, start
from database import database
from verbs import VERBS, Verb

#: Kills of one round before the command may end.
_MOST_KILLS = 3


@dataclass
class Campaign:
    """What is disturbed, and what came of it.

    Attributes:
        verb: the command.
        address: of the database.
        wanted: what it leaves when nothing disturbs it.
        seconds: that it then takes.
        rng: when to stop it.
        stops: signals that reached it while it ran.
        answers: of the rounds.
        processor: seconds of processor time that they took.
    """

    verb: Verb
    address: str
    wanted: Any
    seconds: float
    rng: random.Random
    stops: int = 0
    processor: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)

    def begin(self, folder: Path, more: tuple[str, ...] = (), **limits: Any) -> Child:
        """The command with its output in a folder."""
        words = [*self.verb.words(folder, self.address), *more]
        return start(words, folder / "said", runs=self.verb.runs, **limits)

    def finish(self, folder: Path, more: tuple[str, ...] = ()) -> str:
        """Run it to its end: ``same``, or what is wrong."""
        child = self.begin(folder, more)
        child.wait()
        if child.code not in (0, 1) or "Traceback" in child.text():
            return f"exit code {child.code}: {child.text()[-600:]}"
        return "same" if self.verb.result(folder) == self.wanted else "another result"


def stopped(campaign: Campaign, kind: int) -> str:
    """One round: stop at one to three random moments, then let it end; what came of it."""
    verb, rng = campaign.verb, campaign.rng
    with _folder(campaign.verb) as folder:
        for _ in range(rng.randint(1, _MOST_KILLS)):
            child = campaign.begin(folder)
            if not child.wait(rng.uniform(0.0, 1.0) * campaign.seconds):
                campaign.stops += 1
                child.stop(kind)
                if rng.random() < 0.5:
                    _stop_workers(verb, folder, kind)
                child.wait()
            if "Traceback" in child.text():
                return f"traceback: {child.text()[-600:]}"
            if verb.whole(folder):
                found = verb.result(folder)
                if found == campaign.wanted:
                    return "same"
                if kind == signal.SIGINT and verb.keeps:
                    same = all(campaign.wanted.get(k) == v for k, v in found.items())
                    return "same" if found and same else "mixed up"
                return "a part was read as the whole"
        return campaign.finish(folder)


def _stop_workers(verb: Verb, folder: Path, kind: int) -> None:
    for pid in verb.workers(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)


@contextlib.contextmanager
def _folder(verb: Verb) -> Iterator[Path]:
    """A folder of a round, where nothing works any more when it goes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)
        _stop_workers(verb, Path(name), signal.SIGKILL)


def full_disk(campaign: Campaign) -> str:
    """Writes fail from some size on; the error is one sentence, then the command completes."""
    with _folder(campaign.verb) as folder:
        child = campaign.begin(folder, limit=campaign.rng.choice((200, 1_000, 4_000, 20_000)))
        child.wait()
        if "Traceback" in child.text():
            return f"traceback: {child.text()[-600:]}"
        if child.code in (0, 1) and campaign.verb.result(folder) != campaign.wanted:
            return "lost without a word"
        if child.code in (0, 1):
            return "same"
        return campaign.finish(folder, ("--overwrite",) if campaign.verb.keeps else ())


def two_writers(campaign: Campaign) -> str:
    """Two of the same command at once: one ends well, the other is refused or does the same."""
    with _folder(campaign.verb) as folder:
        first = campaign.begin(folder)
        time.sleep(campaign.rng.uniform(0, 0.5) * campaign.seconds)
        second = campaign.begin(folder)
        for child in (first, second):
            child.wait()
        if "Traceback" in first.text() or not {first.code, second.code} & {0, 1}:
            return f"none ended well: {first.code}, {second.code}: {first.text()[-600:]}"
        return "same" if campaign.verb.result(folder) == campaign.wanted else "another result"


def no_folder(campaign: Campaign) -> str:
    """The output cannot be made: a file is in its way, or the name is too long."""
    with _folder(campaign.verb) as folder:
        (folder / "file").write_text("x")
        place = campaign.rng.choice((folder / "file" / "x", folder / ("n" * 300)))
        words = [
            word.replace(str(folder / "out"), str(place))
            for word in campaign.verb.words(folder, campaign.address)
        ]
        child = start(words, folder / "said", runs=campaign.verb.runs)
        child.wait()
        if "Traceback" in child.text() or child.code != 2 or not child.text().strip():
            return f"exit code {child.code}: {child.text()[-600:]}"
        return "same" if (folder / "file").read_text() == "x" else "overwrote a file"


def read_only(campaign: Campaign) -> str:
    """A folder that may be read and not written: one sentence, and nothing has changed."""
    with _folder(campaign.verb) as folder:
        words = campaign.verb.words(folder, campaign.address)
        said = folder / "said"
        said.touch()
        said.chmod(0o666)
        folder.chmod(0o555)
        before = sorted(path.name for path in folder.rglob("*"))
        child = start(words, said, nobody=True, runs=campaign.verb.runs)
        child.wait()
        after = sorted(path.name for path in folder.rglob("*"))
        folder.chmod(0o755)
        if "Traceback" in child.text() or child.code != 2 or not child.text().strip():
            return f"exit code {child.code}: {child.text()[-600:]}"
        return "same" if before == after else "wrote all the same"


KINDS: dict[str, Callable[[Campaign], str]] = {
    "kill": lambda c: stopped(c, signal.SIGKILL),
    "Ctrl-C": lambda c: stopped(c, signal.SIGINT),
    "full disk": full_disk,
    "two writers": two_writers,
    "no folder": no_folder,
    "read-only": read_only,
}
#: Of the kills that are asked for: signals for the first two, rounds for the others.
_SHARE = {
    "kill": 1.0, "Ctrl-C": 0.3, "full disk": 0.1, "two writers": 0.1, "no folder": 0.05,
    "read-only": 0.05,
}  # fmt: skip


def undisturbed(verb: Verb, address: str) -> tuple[Any, float]:
    """What a verb leaves, and the shorter of two times that it takes."""
    times = []
    for _ in range(2):
        with _folder(verb) as folder:
            began = time.monotonic()
            child = start(verb.words(folder, address), folder / "said", runs=verb.runs)
            child.wait()
            times.append(time.monotonic() - began)
            if child.code not in (0, 1):
                raise SystemExit(f"{verb.name} fails undisturbed: {child.text()}")
            wanted = verb.result(folder)
    return wanted, min(times)


def disturb(campaign: Campaign, kind: str, amount: int, until: float) -> Iterator[None]:
    """Rounds of one kind until there were enough, or the time is over; yields after each."""
    rounds = campaign.answers
    # A command that ends before it can be stopped must not go on for ever.
    while rounds.total() <= 20 * amount + 20 and time.monotonic() < until:
        if amount <= (campaign.stops if kind in ("kill", "Ctrl-C") else rounds.total()):
            return
        campaign.rng.seed(f"{campaign.verb.name} {kind} {rounds.total()}")
        began = _processor_seconds()
        answer = KINDS[kind](campaign)
        campaign.processor += _processor_seconds() - began
        rounds["same" if answer == "same" else "wrong"] += 1
        if answer != "same":
            print(f"{campaign.verb.name}, {kind}: {answer}", flush=True)
        yield


def _processor_seconds() -> float:
    """Of this process and of the children that have ended."""
    own, others = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


class Record:
    """What came of the rounds so far, kept in a file where one is given."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        there = file is not None and file.is_file()
        self.rows: dict[str, dict[str, Any]] = json.loads(file.read_text()) if there else {}

    def resume(self, row: str, campaign: Campaign) -> None:
        """Give a campaign what it had."""
        found = self.rows.get(row, {})
        campaign.stops = int(found.get("stops", 0))
        campaign.processor = float(found.get("seconds", 0.0))
        campaign.answers = Counter(found.get("answers", {}))

    def keep(self, row: str, campaign: Campaign) -> None:
        """Write down where it is."""
        self.rows[row] = {
            "stops": campaign.stops,
            "seconds": round(campaign.processor, 2),
            "answers": dict(campaign.answers),
        }
        if self.file is not None:
            part = self.file.with_suffix(".part")
            part.write_text(json.dumps(self.rows, indent=1))
            part.replace(self.file)

    def table(self) -> str:
        """All rows, as Markdown."""
        lines = [
            "| disturbed | signals | rounds | same end | wrong or lost | processor time |",
            "|---|---|---|---|---|---|",
        ]
        for row, found in self.rows.items():
            answers = Counter(found["answers"])
            cells = (found["stops"] or "", answers.total(), answers["same"], answers["wrong"])
            shown = " | ".join(str(cell) for cell in cells)
            lines.append(f"| {row} | {shown} | {found['seconds']:.0f} s |")
        return "\n".join(lines)


def main() -> int:
    """Run the campaign of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of each verb")
    parser.add_argument("--verbs", default=",".join(verb.name for verb in VERBS))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end after so long")
    parser.add_argument("--state", type=Path, help="file that remembers the rounds")
    options = parser.parse_args()
    record = Record(options.state)
    until = time.monotonic() + 60 * options.minutes
    with database() as address:
        import crystal_diffusion.cli  # noqa: F401  imported once, for all children

        for verb in VERBS:
            if verb.name not in options.verbs.split(","):
                continue
            verb.prepare()
            if verb.runs is run:
                # Once in this process: what it imports and loads is there in all children.
                with tempfile.TemporaryDirectory() as name, quiet():
                    run(verb.words(Path(name), address))
            wanted, seconds = undisturbed(verb, address)
            print(f"{verb.name}: {seconds:.2f} s undisturbed", flush=True)
            for kind in options.kinds.split(","):
                row = f"{verb.name}, {kind}"
                campaign = Campaign(verb, address, wanted, seconds, random.Random())
                record.resume(row, campaign)
                amount = max(1, round(options.kills * _SHARE[kind]))
                for _ in disturb(campaign, kind, amount, until):
                    record.keep(row, campaign)
                print(f"{row}: {campaign.stops} {dict(campaign.answers)}", flush=True)
    print(record.table())
    return int(any(found["answers"].get("wrong") for found in record.rows.values()))


if __name__ == "__main__":
    sys.exit(main())
