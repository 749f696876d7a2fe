"""The fault campaign: kills, Ctrl-C, full disks, read-only folders and two writers at a time.

``python tests/faults/faults.py --kills 100 --verbs train,fetch``

Every verb is stopped at random moments and started again with the same words until it ends by
itself; what it leaves must be what an undisturbed run leaves (crystals, ids, energies; weights bit
for bit), and in between no reader may take a part for the whole. Prints a table; exit code 1 where
anything was lost, mixed up or read as complete.
"""

from __future__ import annotations

import os

# Before numpy: a process that is forked may not have threads.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
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
    """

    verb: Verb
    address: str
    wanted: Any
    seconds: float
    rng: random.Random
    stops: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    def begin(self, folder: Path, more: tuple[str, ...] = (), **limits: Any) -> Child:
        """The command with its output in a folder."""
        return start([*self.verb.words(folder, self.address), *more], folder / "said", **limits)

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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(rng.randint(1, _MOST_KILLS)):
            child = campaign.begin(folder)
            if not child.wait(rng.uniform(0.0, 1.0) * campaign.seconds):
                campaign.stops += 1
                child.stop(kind)
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


def full_disk(campaign: Campaign) -> str:
    """Writes fail from some size on; the error is one sentence, then the command completes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_text("x")
        place = campaign.rng.choice((folder / "file" / "x", folder / ("n" * 300)))
        words = [
            word.replace(str(folder / "out"), str(place))
            for word in campaign.verb.words(folder, campaign.address)
        ]
        child = start(words, folder / "said")
        child.wait()
        if "Traceback" in child.text() or child.code != 2 or not child.text().strip():
            return f"exit code {child.code}: {child.text()[-600:]}"
        return "same" if (folder / "file").read_text() == "x" else "overwrote a file"


def read_only(campaign: Campaign) -> str:
    """A folder that may be read and not written: one sentence, and nothing has changed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = campaign.verb.words(folder, campaign.address)
        said = folder / "said"
        said.touch()
        said.chmod(0o666)
        folder.chmod(0o555)
        before = sorted(path.name for path in folder.rglob("*"))
        child = start(words, said, nobody=True)
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
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            began = time.monotonic()
            child = start(verb.words(folder, address), folder / "said")
            child.wait()
            times.append(time.monotonic() - began)
            if child.code not in (0, 1):
                raise SystemExit(f"{verb.name} fails undisturbed: {child.text()}")
            wanted = verb.result(folder)
    return wanted, min(times)


def disturb(campaign: Campaign, kind: str, amount: int) -> None:
    """Rounds of one kind until there were enough."""
    done = 0
    while done < amount:
        before = campaign.stops
        answer = KINDS[kind](campaign)
        campaign.answers["same" if answer == "same" else "wrong"] += 1
        done += campaign.stops - before if kind in ("kill", "Ctrl-C") else 1
        # A command that ends before it can be stopped must not go on for ever.
        if campaign.answers.total() > 20 * amount + 20:
            return
        if answer != "same":
            print(f"{campaign.verb.name}, {kind}: {answer}", flush=True)


def main() -> int:
    """Run the campaign of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of each verb")
    parser.add_argument("--verbs", default=",".join(verb.name for verb in VERBS))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows: dict[str, Campaign] = {}
    with database() as address:
        import crystal_diffusion.cli  # noqa: F401  imported once, for all children

        for verb in VERBS:
            if verb.name not in options.verbs.split(","):
                continue
            verb.prepare()
            # Once in this process: what it imports and loads is there in all children.
            with tempfile.TemporaryDirectory() as name, quiet():
                run(verb.words(Path(name), address))
            wanted, seconds = undisturbed(verb, address)
            print(f"{verb.name}: {seconds:.2f} s undisturbed", flush=True)
            for kind in options.kinds.split(","):
                rng = random.Random(f"{options.seed} {verb.name} {kind}")
                campaign = Campaign(verb, address, wanted, seconds, rng)
                rows[f"{verb.name}, {kind}"] = campaign
                disturb(campaign, kind, max(1, round(options.kills * _SHARE[kind])))
                print(f"{verb.name}, {kind}: {campaign.stops} {dict(campaign.answers)}", flush=True)
    print("| disturbed | signals | rounds | same end | wrong or lost |\n|---|---|---|---|---|")
    for row, campaign in rows.items():
        answers = campaign.answers
        cells = (campaign.stops or "", answers.total(), answers["same"], answers["wrong"])
        print(f"| {row} | {' | '.join(str(cell) for cell in cells)} |")
    print(json.dumps({row: dict(campaign.answers) for row, campaign in rows.items()}))
    return int(any(campaign.answers["wrong"] for campaign in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
