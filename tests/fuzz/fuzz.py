"""The fuzz campaign: damaged input in numbers, with limits of time and memory, resumable.

``python tests/fuzz/fuzz.py --readers 1000000 --runs 20000 --models 5000 --arguments 2000
--folders 5000``

Input number i of a target is the same in every campaign, so a fault can be made again with
``--only readers:12345``. Each worker process does many inputs; one that is killed, hangs or grows
is started anew and the input counts as a fault. What is done is in ``--state``, and the same
command goes on from there. Exit code 0: no faults; 1: some.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HANG_S = 5.0
MEMORY_MB = 1024
#: A busy machine takes minutes to import everything.
STARTS_WITHIN_S = 1800.0
#: Verbs that read a potential or train need more than a reader does.
_HANG_OF = {"arguments": 120.0, "runs": 20.0, "folders": 20.0}
_MEMORY_OF = {"arguments": 3072, "folders": 2048}


class Hang(BaseException):
    """An input took too long; not an Exception, so that nobody takes it for one."""


def work(pipe: Connection, target: str, hang_s: float, memory_mb: int) -> None:
    """A worker: takes (first, last), does the inputs one by one, tells each result."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    sys.path.insert(0, str(Path(__file__).parent))
    faulthandler.disable()
    import targets

    call = targets.TARGETS[target]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call(0, folder)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = size + memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        def over(*_: Any) -> None:
            raise Hang

        signal.signal(signal.SIGVTALRM, over)
        pipe.send((0, "ready", ""))
        while True:
            first, last = pipe.recv()
            for number in range(first, last):
                pipe.send((number, "begun", ""))
                signal.setitimer(signal.ITIMER_VIRTUAL, hang_s, 1.0)
                detail = ""
                try:
                    word = call(number, folder)
                except Hang:
                    word, detail = "hang", traceback.format_exc(limit=-6)
                except MemoryError:
                    word, detail = "memory", traceback.format_exc(limit=-6)
                except BaseException:
                    word, detail = "traceback", traceback.format_exc(limit=-8)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                pipe.send((number, word, detail))
            pipe.send((last, "end", ""))


class Worker:
    """One process and what it is doing."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.hang_s = _HANG_OF.get(target, HANG_S)
        self.memory_mb = _MEMORY_OF.get(target, MEMORY_MB)
        self.start()

    def start(self) -> None:
        """Begin with a fresh process."""
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=work, args=(other, self.target, self.hang_s, self.memory_mb), daemon=True
        )
        self.process.start()
        other.close()
        if not self.pipe.poll(STARTS_WITHIN_S) or self.pipe.recv()[1] != "ready":
            raise RuntimeError(f"a worker for {self.target} did not start; see above")

    def doing(self) -> tuple[float, str]:
        """Seconds of processor time that the process has had, and its state as Linux calls it."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0, "gone"
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0]

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def campaign(
    target: str, first: int, last: int, state: dict[str, Any], save: Any, chunk: int = 50
) -> None:
    """Do the inputs first to last of a target and count the results in ``state``."""
    worker = Worker(target)
    counts, faults = Counter(state["counts"]), state["faults"]
    number = first
    try:
        while number < last:
            end = min(number + chunk, last)
            worker.pipe.send((number, end))
            current, began = number, time.monotonic()
            while True:
                # Far more than the timer of the worker: the machine may be busy.
                patience = 40 * worker.hang_s
                worked, _ = worker.doing()
                while not worker.pipe.poll(patience):
                    # A process that is paused, or waits for a busy machine, does not hang.
                    so_far, state_now = worker.doing()
                    if so_far - worked >= worker.hang_s or state_now not in "RTD":
                        break
                if not worker.pipe.poll(0):
                    word, detail = "hang", f"no answer for {patience:.0f} s"
                else:
                    try:
                        current, word, detail = worker.pipe.recv()
                    except EOFError:
                        word, detail = "died", f"exit code {worker.process.exitcode}"
                if word == "end":
                    number = end
                    break
                if word == "begun":
                    continue
                counts[word] += 1
                if word not in ("read", "refused"):
                    faults.append({"input": f"{target}:{current}", "kind": word, "detail": detail})
                    print(f"{target}:{current}: {word}\n{detail}", flush=True)
                if word in ("died", "memory", "hang"):
                    # It may hold what it took; the next inputs get a fresh process.
                    worker.stop()
                    worker.start()
                    number = current + 1
                    break
            state.update(next=number, counts=dict(counts), faults=faults)
            state["seconds"] = round(state["seconds"] + time.monotonic() - began, 1)
            save()
    finally:
        worker.stop()


def fresh() -> dict[str, Any]:
    """The state of a target nothing was done of."""
    return {"next": 0, "counts": {}, "faults": [], "seconds": 0.0}


def table(states: dict[str, Any]) -> str:
    """The figures, as a table for a document."""
    kinds = ("read", "refused", "traceback", "hang", "memory", "died")
    lines = [
        "| target | inputs | " + " | ".join(kinds) + " | inputs per s |",
        "|---|" + "---|" * (len(kinds) + 2),
    ]
    for target, state in states.items():
        counts = [state["counts"].get(kind, 0) for kind in kinds]
        rate = sum(counts) / state["seconds"] if state["seconds"] else 0.0
        cells = " | ".join(f"{n:,}" for n in counts)
        lines.append(f"| {target} | {sum(counts):,} | {cells} | {rate:.1f} |")
    return "\n".join(lines)


def main() -> int:
    """Run the campaign of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ("readers", "runs", "models", "arguments", "folders")
    for name in names:
        parser.add_argument(f"--{name}", type=int, default=0, help="inputs up to this number")
    parser.add_argument("--state", type=Path, default=None, help="file to go on from")
    parser.add_argument("--only", help="one input, for example readers:12345, in this process")
    options = parser.parse_args()
    if options.only:
        sys.path.insert(0, str(Path(__file__).parent))
        import targets

        target, _, number = options.only.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            print(targets.TARGETS[target](int(number), Path(folder)))
        return 0
    states: dict[str, Any] = {}
    if options.state is not None and options.state.is_file():
        states = json.loads(options.state.read_text())

    def save() -> None:
        if options.state is not None:
            part = options.state.with_suffix(".part")
            part.write_text(json.dumps(states, indent=1))
            os.replace(part, options.state)

    for name in names:
        wanted = getattr(options, name)
        state = states.setdefault(name, fresh())
        if wanted > state["next"]:
            campaign(name, state["next"], wanted, state, save)
    print(table({k: v for k, v in states.items() if v["counts"]}))
    faults = [fault for state in states.values() for fault in state["faults"]]
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
