"""The Materials Project, the COD and exports of the ICSD; the servers are on loopback."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from optimade_server import two_hundred_crystals
from pymatgen.core import Lattice, Structure
from pytest_httpserver import HTTPServer
from typer.testing import CliRunner
from werkzeug import Request, Response

import crystal_diffusion as cd
from crystal_diffusion.cli import verbs
from crystal_diffusion.data.readers import iter_plain
from crystal_diffusion.data.sources.client import Patience, followed
from crystal_diffusion.data.sources.cod import hill
from crystal_diffusion.data.sources.query import DatabaseQuery, Range, parse_query
from crystal_diffusion.errors import InputError, SourceError

QUICK = Patience(attempts=3, first_wait=0.01, longest_wait=5)
KEY = "mpkey-0123456789"


class Project:
    """The summary route of the Materials Project with documents made here."""

    def __init__(self, server: HTTPServer, count: int) -> None:
        crystals = (two_hundred_crystals() * 3)[:count]
        self.documents = [self.document(i, s) for i, (_, s) in enumerate(crystals)]
        self.asked: list[dict[str, str]] = []
        self.failures: list[Response] = []
        server.no_handler_status_code = 404
        server.expect_request("/materials/summary/").respond_with_handler(self.answer)
        server.expect_request("/heartbeat").respond_with_json({"db_version": "2026.10.01"})
        self.address = server.url_for("").rstrip("/")

    @staticmethod
    def document(number: int, structure: Structure) -> dict[str, Any]:
        return {
            "material_id": f"mp-{number + 1}",
            "structure": structure.as_dict(),
            "nsites": len(structure),
            "last_updated": "2025-03-04T05:06:07",
            "builder_meta": {
                "license": "BY-NC" if number == 3 else "BY-C",
                "database_version": "2025.09.25",
            },
            "bulk_modulus": {"vrh": 101.5} if number == 0 else None,
            "band_gap": 0.5 + number / 100,
            "is_stable": number % 2 == 0,
            "energy_above_hull": None if number == 2 else 0.01,
        }

    def answer(self, request: Request) -> Response:
        if self.failures:
            return self.failures.pop(0)
        if request.headers.get("X-Api-Key") != KEY:
            return Response(json.dumps({"error": "Invalid API key"}), status=403)
        asked = dict(request.args)
        self.asked.append(asked)
        first, size = int(asked["_skip"]), int(asked["_limit"])
        part = self.documents[first : first + size]
        body = {"data": part, "meta": {"total_doc": len(self.documents), "api_version": "0.9"}}
        return Response(json.dumps(body), content_type="application/json")


@pytest.fixture
def project(httpserver: HTTPServer) -> Project:
    return Project(httpserver, 450)


class TestMaterialsProject:
    def test_pages_labels_and_provenance(self, project: Project, tmp_path: Path) -> None:
        out = tmp_path / "data.parquet"
        result = cd.fetch("mp", "all", out, provider=project.address, key=KEY, patience=QUICK)
        assert result.crystals == 450 and [a["_skip"] for a in project.asked] == ["0", "200", "400"]
        first, *_, fourth = list(iter_plain(out))[:4]
        assert first.id == "mp-1" and first.properties["K_VRH"] == 101.5
        assert first.properties["band_gap"] == 0.5 and first.properties["is_stable"] == 1.0
        origin = first.provenance
        assert (origin.provider, origin.version) == ("mp", "2025.09.25")
        assert (origin.license, fourth.provenance.license) == ("CC-BY-4.0", "CC-BY-NC-4.0")
        assert "Jain" in origin.citation and "r2SCAN" in origin.functional
        assert KEY.encode() not in out.read_bytes()

    def test_every_filter_is_asked_for(self, project: Project, tmp_path: Path) -> None:
        query = (
            "elements=Li,O exclude=Fe nsites=2-20 nelements<4 stable energy_above_hull<=0.05 "
            "band_gap>=1 band_gap<3"
        )
        cd.fetch("mp", query, tmp_path / "a.parquet", provider=project.address, key=KEY, limit=2)
        asked = project.asked[0]
        wanted = {
            "elements": "Li,O",
            "exclude_elements": "Fe",
            "nsites_min": "2",
            "nsites_max": "20",
            "nelements_max": "3",
            "is_stable": "true",
            "energy_above_hull_max": "0.05",
            "band_gap_min": "1.0",
            "deprecated": "false",
        }
        assert {key: asked.get(key) for key in wanted} == wanted
        assert 2.999999 < float(asked["band_gap_max"]) < 3

    def test_key_from_file_and_environment(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("MP_API_KEY", raising=False)
        words = ["fetch", "mp", "Li-O", "--url", project.address, "--limit", "3"]
        done = CliRunner().invoke(verbs, [*words, "--out", str(tmp_path / "a.parquet")])
        assert "set MP_API_KEY or give --key-file" in str(done.exception)
        file = tmp_path / "key.txt"
        file.write_text(f"{KEY}\n")
        done = CliRunner().invoke(
            verbs, [*words, "--out", str(tmp_path / "a.parquet"), "--key-file", str(file)]
        )
        assert done.exit_code == 0 and "3 crystals" in done.output and KEY not in done.output
        monkeypatch.setenv("MP_API_KEY", KEY)
        done = CliRunner().invoke(verbs, [*words, "--out", str(tmp_path / "b.parquet")])
        assert done.exit_code == 0, done.output
        assert project.asked[-1]["chemsys"] == "Li-O"

    def test_a_wrong_key(self, project: Project, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"403: Invalid API key.*check the key"):
            cd.fetch("mp", "all", tmp_path / "a.parquet", provider=project.address, key="wrong")

    def test_it_goes_on(self, project: Project, tmp_path: Path) -> None:
        out = tmp_path / "a.parquet"
        options: Any = {"provider": project.address, "key": KEY, "patience": QUICK}
        seen: list[int] = []

        def fail(done: int, total: int | None) -> None:
            seen.append(done)
            project.failures = [Response(status=503) for _ in range(3)] if done == 200 else []

        with pytest.raises(SourceError, match="200 entries are kept"):
            cd.fetch("mp", "all", out, progress=fail, **options)
        project.asked.clear()
        project.failures.clear()
        result = cd.fetch("mp", "all", out, **options)
        assert (result.crystals, result.resumed) == (450, 200)
        assert [a["_skip"] for a in project.asked] == ["200", "400"]
        assert result.origins[0].provider == "mp" and not any(
            KEY.encode() in p.read_bytes() for p in tmp_path.iterdir()
        )

    def test_a_server_that_ignores_the_position(
        self, httpserver: HTTPServer, tmp_path: Path
    ) -> None:
        project = Project(httpserver, 5)
        body = {"data": project.documents, "meta": {"total_doc": 50}}
        httpserver.clear()
        httpserver.expect_request("/materials/summary/").respond_with_json(body)
        with pytest.raises(SourceError, match="goes round in circles"):
            cd.fetch("mp", "all", tmp_path / "a.parquet", provider=project.address, key=KEY)

    def test_a_server_that_does_not_count(self, httpserver: HTTPServer, tmp_path: Path) -> None:
        project = Project(httpserver, 5)
        httpserver.clear()
        httpserver.expect_request("/materials/summary/").respond_with_json(
            {"data": project.documents}
        )
        result = cd.fetch("mp", "all", tmp_path / "a.parquet", provider=project.address, key=KEY)
        assert result.crystals == 5 and result.complete

    def test_documents_that_do_not_fit(self, httpserver: HTTPServer, tmp_path: Path) -> None:
        project = Project(httpserver, 5)
        project.documents[1]["nsites"] = 7
        project.documents[2]["structure"] = None
        result = cd.fetch("mp", "all", tmp_path / "a.parquet", provider=project.address, key=KEY)
        assert result.crystals == 3
        assert "2 atoms were read, the file says 7" in result.left_out[0].reason
        assert [x.kind for x in result.left_out] == ["contradiction", "unreadable"]

    def test_the_function_of_the_first_design(self, project: Project) -> None:
        data = cd.load_materials_project_data(KEY, max_structures=250, address=project.address)
        assert len(data) == 250 and project.asked[0]["nsites_max"] == "20"
        assert data[0].keys() >= {"positions", "atom_types", "lattice"}
        dataset = cd.CrystalStructureDataset(data)
        assert len(dataset) == 250 and dataset.ids[0] == "mp-1"
        wanted = Structure.from_dict(project.documents[0]["structure"])
        np.testing.assert_allclose(data[0]["lattice"], wanted.lattice.matrix)
        np.testing.assert_allclose(data[0]["positions"], wanted.frac_coords)
        with pytest.raises(InputError, match="needs a key"):
            cd.load_materials_project_data("", 10)
        with pytest.raises(InputError, match="at least 1"):
            cd.load_materials_project_data(KEY, 0)


def cif(code: str = "", database: str = "", **more: str) -> str:
    """Caesium chloride with what a database adds."""
    structure = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    _head, body = str(structure.to(fmt="cif")).split("data_CsCl", 1)
    lines = {**({f"_{database}": code} if code else {}), **more}
    return f"data_{code or 'x'}\n" + "".join(f"{k} {v}\n" for k, v in lines.items()) + body


COD_EXTRA = {
    "_journal_name_full": "'Acta Cryst'",
    "_journal_volume": "12",
    "_journal_page_first": "34",
    "_journal_year": "1999",
    "_journal_paper_doi": "10.1/x",
    "_diffrn_ambient_temperature": "295(2)",
    "_diffrn_ambient_pressure": "5.0E6",
}


class Cod:
    """The COD with some entries."""

    def __init__(self, server: HTTPServer, ids: list[str]) -> None:
        self.ids = ids
        self.searches: list[dict[str, str]] = []
        self.files: list[str] = []
        server.no_handler_status_code = 404
        server.expect_request("/cod/result").respond_with_handler(self.search)
        for name in ids:
            if name.endswith("404"):
                continue
            server.expect_request(f"/cod/{name}.cif").respond_with_handler(self.cif)
        self.address = server.url_for("/cod")

    def search(self, request: Request) -> Response:
        self.searches.append(dict(request.args))
        return Response(json.dumps([{"file": name, "a": "4.12"} for name in self.ids]))

    def cif(self, request: Request) -> Response:
        name = request.path.split("/")[-1][:-4]
        self.files.append(name)
        head = "#$Date: 2016-02-13 21:28:24 +0200 (Sat, 13 Feb 2016) $\n#$Revision: 176465 $\n"
        return Response(head + cif(name, "cod_database_code", **COD_EXTRA))


class TestCod:
    def test_by_ids(self, httpserver: HTTPServer, tmp_path: Path) -> None:
        cod = Cod(httpserver, ["1000041", "9008460", "1000404"])
        out = tmp_path / "a.parquet"
        result = cd.fetch("cod", "1000041,9008460,1000404", out, provider=cod.address)
        assert result.crystals == 2 and cod.searches == []
        assert [(x.id, x.reason) for x in result.left_out] == [
            ("1000404", "the database has no such entry")
        ]
        crystal = next(iter_plain(out))
        assert crystal.id == "1000041"
        assert crystal.properties == {"temperature_K": 295.0, "pressure_GPa": 5.0}
        origin = crystal.provenance
        assert (origin.provider, origin.version) == ("cod", "revision 176465")
        assert (origin.license, origin.functional) == ("CC0-1.0", "experiment")
        assert origin.last_modified == "2016-02-13"
        assert origin.citation == "Acta Cryst 12, 34 (1999), doi:10.1/x"

    @pytest.mark.parametrize(
        ("query", "wanted"),
        [
            ("CsCl", {"formula": "Cl Cs"}),
            ("Cs-Cl", {"el1": "Cs", "el2": "Cl", "strictmin": "2", "strictmax": "2"}),
            (
                "elements=Cs exclude=O,H nelements<=3",
                {"el1": "Cs", "nel1": "O", "nel2": "H", "strictmax": "3"},
            ),
        ],
    )
    def test_by_formula_and_elements(
        self, httpserver: HTTPServer, tmp_path: Path, query: str, wanted: dict[str, str]
    ) -> None:
        cod = Cod(httpserver, [str(1000000 + i) for i in range(23)])
        result = cd.fetch("cod", query, tmp_path / "a.parquet", provider=cod.address)
        assert result.crystals == result.announced == 23
        assert cod.searches == [{"format": "json", **wanted}]

    def test_it_goes_on(self, httpserver: HTTPServer, tmp_path: Path) -> None:
        cod = Cod(httpserver, [str(1000000 + i) for i in range(23)])
        out = tmp_path / "a.parquet"

        def stop(done: int, total: int | None) -> None:
            if done >= 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cd.fetch("cod", "CsCl", out, provider=cod.address, progress=stop)
        cod.files.clear()
        result = cd.fetch("cod", "CsCl", out, provider=cod.address)
        assert (result.crystals, result.resumed, len(cod.files)) == (23, 20, 3)

    def test_what_it_cannot_be_asked(self, tmp_path: Path) -> None:
        for query, words in (
            ("elements=Cs band_gap>1", "cannot be asked for band_gap"),
            ("all", "needs ids, a formula or elements"),
            ("elements=Cs,Cl,O,H,C,N,S,P,F", "at most 8 elements"),
        ):
            with pytest.raises(InputError, match=words):
                cd.fetch("cod", query, tmp_path / "a.parquet")

    def test_folders_and_archives_as_it_hands_them_out(self, tmp_path: Path) -> None:
        folder = tmp_path / "cif" / "1" / "00" / "00"
        folder.mkdir(parents=True)
        for name in ("1000041", "1000042"):
            text = cif(name, "cod_database_code", **COD_EXTRA)
            (folder / f"{name}.cif").write_text(text)
        (folder / "1000043.cif").write_text("data_1000043\n")
        archive = tmp_path / "cod-cifs.tgz"
        with tarfile.open(archive, "w:gz") as tape:
            tape.add(tmp_path / "cif", "cif")
        for place in (tmp_path / "cif", archive):
            out = tmp_path / "a.parquet"
            result = cd.fetch("cod", str(place), out, overwrite=True)
            assert pq.read_table(out)["material_id"].to_pylist() == ["1000041", "1000042"]
            assert [x.id for x in result.left_out] == ["1000043"]
            assert result.origins[0].license == "CC0-1.0"


class TestIcsd:
    def export(self) -> str:
        first = {
            "_cell_measurement_temperature": "293.",
            "_audit_creation_date": "1980-01-01",
            "_audit_update_record": "2016-02-01",
            "_citation_journal_full": "'Z. Kristallogr.'",
            "_citation_year": "1931",
        }
        second = {
            "_cell_measurement_pressure": "1200000",
            "_exptl_special_details": "'theoretical calculation'",
        }
        return (
            cif("12345", "database_code_ICSD", **first)
            + "\n"
            + cif("67890", "database_code_ICSD", **second)
        )

    def test_a_collection(self, tmp_path: Path) -> None:
        path = tmp_path / "export.cif"
        path.write_text(self.export())
        zip_path = tmp_path / "export.zip"
        with zipfile.ZipFile(zip_path, "w") as archive:
            archive.writestr("ICSD_CollCode.cif", self.export())
        for place in (path, zip_path):
            out = tmp_path / f"{place.suffix[1:]}.parquet"
            result = cd.fetch("icsd", str(place), out)
            one, two = iter_plain(out)
            assert (one.id, two.id) == ("12345", "67890") and result.left_out == ()
            assert one.properties == {"temperature_K": 293.0}
            assert two.properties == {"pressure_GPa": pytest.approx(1.2)}
            origin = one.provenance
            assert (origin.provider, origin.entry_id) == ("icsd", "12345")
            assert origin.last_modified == "2016-02-01"
            assert origin.citation == "Z. Kristallogr. (1931)"
            assert (origin.functional, two.provenance.functional) == ("experiment", "")
            assert origin.license.startswith("ICSD")

    def test_there_must_be_an_export(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            cd.fetch("icsd", "NaCl", tmp_path / "a.parquet")
        (tmp_path / "a.xyz").write_text("1\n\nH 0 0 0\n")
        with pytest.raises(InputError, match="holds no CIF"):
            cd.fetch("icsd", str(tmp_path), tmp_path / "a.parquet")
        with pytest.raises(InputError, match="no use for key"):
            cd.fetch("icsd", str(tmp_path), tmp_path / "a.parquet", key="x")

    def test_a_broken_member_does_not_cost_the_others(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tar"
        with tarfile.open(path, "w") as tape:
            for name, text in (("a.cif", "no cif"), ("b.cif", self.export()), ("c.cif.gz", "x")):
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                tape.addfile(info, io.BytesIO(text.encode()))
        result = cd.fetch("icsd", str(path), tmp_path / "a.parquet")
        assert result.crystals == 2 and [x.id for x in result.left_out] == ["a", "c"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Li-Fe-O", DatabaseQuery(chemical_system=("Li", "Fe", "O"))),
        ("Li, O nsites <= 20", DatabaseQuery(elements=("Li", "O"), num_sites=Range(None, 20))),
        ("LiFePO4", DatabaseQuery(formula="LiFePO4")),
        ("mp-149,mp-13", DatabaseQuery(ids=("mp-149", "mp-13"))),
        ("1000041", DatabaseQuery(ids=("1000041",))),
        (
            "chemsys=Na-Cl and stable=false",
            DatabaseQuery(chemical_system=("Na", "Cl"), stable=False),
        ),
        (
            "band_gap=1..2.5 nsites>3 nsites<=9",
            DatabaseQuery(band_gap=Range(1, 2.5), num_sites=Range(4, 9)),
        ),
        ("hull=0-0.1", DatabaseQuery(energy_above_hull=Range(0, 0.1))),
        ("all", DatabaseQuery()),
    ],
)
def test_queries(text: str, wanted: DatabaseQuery) -> None:
    assert parse_query(text) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("colour=red", "no name of a query"),
        ("nsites=many", "give a number"),
        ("Xx-O", "no element"),
        ("elements=Li,Qq", "no element"),
        ("nsites>9 nsites<3", "leaves nothing"),
        ("elements<Li", "takes '=' only"),
        ("stable=maybe", "true or false"),
        ("please", "neither a formula nor a condition"),
        ("Li,", "no element"),
        ("formula=li", "neither a formula"),
    ],
)
def test_queries_that_are_none(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_query(text)


def test_hill_order() -> None:
    assert hill("LiFePO4") == "Fe Li O4 P"
    assert hill("H10C8O2N4") == "C8 H10 N4 O2"
    assert hill("H2O") == "H2 O"


def test_links_to_the_same_host_stay_secure() -> None:
    here = "https://x.org/v1/structures?page=1"
    assert followed(here, "http://x.org/v1/structures?page=2").startswith("https://x.org/")
    assert followed(here, "http://y.org/a") == "http://y.org/a"
    assert followed(here, "?page=3") == "https://x.org/v1/structures?page=3"


def test_secrets_do_not_belong_into_addresses(tmp_path: Path) -> None:
    place = "http://me:SECRET-9@127.0.0.1:1/optimade"
    with pytest.raises(SourceError, match="name or password") as caught:
        cd.fetch("optimade", "all", tmp_path / "a.parquet", provider=place)
    assert "SECRET-9" not in str(caught.value) and list(tmp_path.iterdir()) == []
