"""The database: one row per id, several writers, queries, and clear errors."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crystal_diffusion.errors import InputError
from crystal_diffusion.screening import store as store_module
from crystal_diffusion.screening.store import Store
from tests.crystals import small_rock_salt as rock_salt


def row(**more: object) -> dict[str, object]:
    base: dict[str, object] = {
        "valid": True,
        "group": 0,
        "energy_per_atom_eV": -3.0,
        "energy_above_hull_eV_atom": 0.02,
        "converged": True,
        "novel": False,
        "problem": "",
        "rank": 1,
        "nearest_known_id": None,
    }
    return base | more


def write_some(location: str, name: str, count: int) -> None:
    target = Store(location)
    for number in range(count):
        target.put(f"{name}-{number}", rock_salt(), row(group=number))
        target.put("shared", rock_salt(), row(group=number))


def test_row_of_the_same_id_is_replaced(tmp_path: Path) -> None:
    target = Store(tmp_path / "a.db")
    target.put("x", rock_salt(), row(energy_per_atom_eV=-1.0))
    target.put("x", rock_salt(edge=5.7), row(energy_per_atom_eV=-2.0))
    assert len(target) == 1
    ((key, structure, found),) = target.rows()
    assert key == "x"
    assert found["energy_per_atom_eV"] == -2.0
    assert structure.lattice.a == pytest.approx(5.7 / 2**0.5)


@pytest.mark.parametrize("key", ["7", "1e5", "true", "NaN", "mp-149", "a b,c", "x=1~2", "100%"])
def test_any_id_comes_back_as_it_was(tmp_path: Path, key: str) -> None:
    target = Store(tmp_path / "a.db")
    target.put(key, rock_salt(), row())
    target.put(key, rock_salt(), row())
    assert [found for found, _, _ in target.rows()] == [key]


def test_queries_by_formula_group_energy_and_flags(tmp_path: Path) -> None:
    target = Store(tmp_path / "a.db")
    target.put_many(
        [
            ("salt", rock_salt(), row(group=1)),
            ("lime", rock_salt("Ca", "O", 4.8), row(group=2, energy_above_hull_eV_atom=0.4)),
            ("nan", rock_salt("Na", "N"), row(group=2, novel=True, valid=False)),
        ]
    )

    def ids(**conditions: object) -> list[str]:
        return [key for key, _, _ in target.rows(**conditions)]  # type: ignore[arg-type]

    assert ids(formula="ClNa") == ["salt"]
    assert ids(formula="NaN") == ["nan"]
    assert ids(group=2) == ["lime", "nan"]
    assert ids(max_energy_above_hull=0.1) == ["salt", "nan"]
    assert ids(novel=True) == ["nan"]
    assert ids(valid=True, group=2) == ["lime"]
    assert ids(ids=["lime"]) == ["lime"]
    with pytest.raises(InputError, match="no chemical formula"):
        ids(formula="??")


def test_ase_reads_the_file(tmp_path: Path) -> None:
    from ase.db import connect

    Store(tmp_path / "a.db").put("x", rock_salt(), row())
    found = connect(tmp_path / "a.db").get("crystal_id=x")
    assert found.energy == pytest.approx(-6.0)
    assert found.formula in ("NaCl", "ClNa")
    assert found.rank == 1


def test_two_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    location = str(tmp_path / "a.db")
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_some, args=(location, name, 8)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    keys = sorted(key for key, _, _ in Store(location).rows())
    assert keys == sorted(["shared", *(f"{n}-{i}" for n in "ab" for i in range(8))])


def test_parquet_has_every_row(tmp_path: Path) -> None:
    import pyarrow.parquet

    target = Store(tmp_path / "a.db")
    target.put("x", rock_salt(), row(decomposition={"NaCl": 1.0}))
    target.put("y", rock_salt(), row(rank=None))
    assert target.to_parquet(tmp_path / "t.parquet") == 2
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert [r["id"] for r in table] == ["x", "y"]
    assert table[0]["formula"] == "NaCl"
    assert len(table[0]["lattice"]) == 9


def test_locked_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_BUSY_SECONDS", 0.1)
    target = Store(tmp_path / "a.db")
    target.put("x", rock_salt(), row())
    holder = sqlite3.connect(tmp_path / "a.db")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(InputError, match=r"a\.db: another program has kept .* locked"):
            target.put("y", rock_salt(), row())
    finally:
        holder.close()


def test_read_only_and_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("this is no database, only text that is long enough" * 9)
    with pytest.raises(InputError, match="no database"):
        Store(tmp_path / "no.db").put("x", rock_salt(), row())
    with pytest.raises(InputError, match="does not exist"):
        Store(tmp_path / "nowhere" / "a.db")
    with pytest.raises(InputError, match="no such database"):
        list(Store(tmp_path / "empty.db").rows())


@pytest.mark.skipif(os.name != "posix", reason="permissions of this kind are of POSIX systems")
def test_read_only_database_is_named(tmp_path: Path) -> None:
    location = tmp_path / "a.db"
    Store(location).put("x", rock_salt(), row())
    location.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        if os.getuid() != 0:
            with pytest.raises(InputError, match="read-only"):
                Store(location).put("y", rock_salt(), row())
        else:  # root ignores permissions: ask SQLite itself to be read-only
            text = "attempt to write a readonly database"
            assert "read-only" in store_module._sqlite_reason(sqlite3.OperationalError(text))
    finally:
        tmp_path.chmod(0o755)


def test_unreachable_server_is_named_without_its_password() -> None:
    pytest.importorskip("ase_db_backends")
    pytest.importorskip("psycopg2")
    target = Store("postgresql://me:secret@127.0.0.1:9/none")
    with pytest.raises(InputError, match=r"me:\*\*\*@.*PostgreSQL does not answer") as caught:
        target.put("x", rock_salt(), row())
    assert "secret" not in str(caught.value)


def _server_programs() -> Path | None:
    """Folder of PostgreSQL's programs: on the path, or where Debian puts them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).parent if there else None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL server of this test's own, on a socket of its own."""
    pytest.importorskip("ase_db_backends", reason="ase-db-backends is not installed")
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    programs = _server_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    as_user: list[str] = []
    if os.getuid() == 0:  # the server refuses to run as root
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("PostgreSQL does not run as root and there is no user postgres")
        folder.chmod(0o755)
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    port = str(20000 + os.getpid() % 20000)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*as_user, *command], capture_output=True, text=True, cwd=folder, timeout=60
        )

    data = folder / "data"
    made = run(
        str(programs / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "--no-sync"
    )
    if made.returncode:
        pytest.skip(f"PostgreSQL could not make a database here: {made.stderr.strip()[-200:]}")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    started = subprocess.run(
        [*as_user, str(programs / "pg_ctl"), "-D", str(data), "-o", options]
        + ["-l", str(folder / "log"), "-w", "start"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        timeout=60,
    )
    if started.returncode:
        pytest.skip("PostgreSQL could not be started here")
    yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    run(str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


def test_postgresql_behaves_like_the_file(server: str) -> None:
    target = Store(server)
    target.put("x", rock_salt(), row(energy_per_atom_eV=-1.0))
    target.put("x", rock_salt(), row(energy_per_atom_eV=-2.0))
    target.put("y", rock_salt("Ca", "O", 4.8), row(group=2, novel=True))
    assert len(target) == 2
    assert {key: r["energy_per_atom_eV"] for key, _, r in target.rows()} == {"x": -2.0, "y": -3.0}
    assert [key for key, _, _ in target.rows(formula="CaO", novel=True)] == ["y"]


def test_postgresql_takes_two_writers(server: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_some, args=(server, name, 5)) for name in "cd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(400)  # importing alone takes a minute on a busy machine
    assert [writer.exitcode for writer in writers] == [0, 0]
    keys = [key for key, _, _ in Store(server).rows()]
    assert sorted(k for k in keys if k[0] in "cd") == [f"{n}-{i}" for n in "cd" for i in range(5)]
    assert keys.count("shared") == 1
