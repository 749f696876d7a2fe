"""One job of the app in a process of its own: command lines, one after the other.

Started as a script in a session of its own, so that it outlives the app; nothing but the standard
library is imported before the command line itself. The folder it is given holds ``job.json``; it
writes ``log.txt`` and, last, ``end.json`` with the exit code. It holds ``worker.lock`` as long as
it lives: who can take the lock knows that it has ended, whatever ended it.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

#: Exit codes of the command line after which the next command still makes sense: all well, some
#: crystals recorded as bad, stopped with what was finished kept.
_GOES_ON = (0, 1, 130)


def run_command(words: list[str]) -> int:
    """Run the command line in this process and give its exit code."""
    sys.argv = ["crystal-diffusion", *words]
    try:
        runpy.run_module("crystal_diffusion", run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else (0 if stop.code is None else 2)
    except KeyboardInterrupt:
        return 130
    return 0


def main(folder: Path) -> int:
    """Run the commands of a job; the code of the first one is the job's unless a later failed."""
    from filelock import FileLock

    end = folder / "end.json"
    # Waits for a worker of the same job: an app that was killed as it started one starts another.
    with FileLock(folder / "worker.lock"):
        if end.exists():
            return 0
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        code = 0
        for words in job["commands"]:
            print("$ crystal-diffusion " + " ".join(words), flush=True)
            ended = run_command(words)
            code = code or ended
            if ended not in _GOES_ON:
                break
        part = folder / "end.json.part"
        try:
            part.write_text(json.dumps({"exit_code": code}), encoding="utf-8")
            os.replace(part, end)
        except OSError as error:
            print(f"error: {end}: could not be written ({error.strerror})", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
