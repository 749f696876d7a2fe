"""Any database that speaks OPTIMADE (Andersen et al. 2021, Scientific Data 8, 217)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crystal_diffusion.data.optimade_entry import (
    STRUCTURE_FIELDS,
    optimade_crystal,
    response_provenance,
)
from crystal_diffusion.data.provenance import Provenance
from crystal_diffusion.data.records import PlainCrystal, failed
from crystal_diffusion.data.sources.client import (
    Client,
    NotThereError,
    RefusedError,
    checked_address,
    followed,
    host_of,
    with_parameters,
)
from crystal_diffusion.data.sources.journal import Page, PageHead, now
from crystal_diffusion.data.sources.query import EVERYTHING
from crystal_diffusion.errors import InputError, SourceError

log = logging.getLogger(__name__)

#: Entries asked for at once; a server that finds this too many is asked for its own number.
_PAGE = 100
#: More labels than this are not asked for unless they are named.
_MOST_LABELS = 40
#: Names of the types of a label, of version 1.1 and 1.2 of the specification.
_NUMBERS = ("float", "integer", "number")


@dataclass(frozen=True)
class Provider:
    """A known database.

    Attributes:
        address: without ``/v1``.
        functional: of all its entries; empty where it differs from entry to entry.
        license: of its data.
        citation: what it asks to be cited with.
    """

    address: str
    functional: str = ""
    license: str = ""
    citation: str = ""


_ALEXANDRIA = "J. Schmidt et al., Materials Today Physics 48, 101560 (2024)"
_COD = "S. Grazulis et al., Nucleic Acids Research 40, D420 (2012)"
_MP = "A. Jain et al., APL Materials 1, 011002 (2013)"
_OQMD = "J. E. Saal et al., JOM 65, 1501 (2013)"
#: By the name that ``--provider`` takes. Addresses as published in the list of providers of the
#: OPTIMADE consortium; none of them was asked while this was written.
PROVIDERS: dict[str, Provider] = {
    "aflow": Provider("https://aflow.org/API/optimade", "PBE"),
    "alexandria": Provider("https://alexandria.icams.rub.de/pbe", "PBE", "CC-BY-4.0", _ALEXANDRIA),
    "alexandria-pbesol": Provider(
        "https://alexandria.icams.rub.de/pbesol", "PBEsol", "CC-BY-4.0", _ALEXANDRIA
    ),
    "cmr": Provider("https://cmr-optimade.fysik.dtu.dk"),
    "cod": Provider("https://www.crystallography.net/cod/optimade", "experiment", "CC0-1.0", _COD),
    "jarvis": Provider("https://jarvis.nist.gov/optimade/jarvisdft"),
    "mc2d": Provider("https://aiida.materialscloud.org/mc2d/optimade"),
    "mc3d": Provider("https://aiida.materialscloud.org/mc3d/optimade"),
    "mp": Provider("https://optimade.materialsproject.org", "", "CC-BY-4.0", _MP),
    "mpds": Provider("https://api.mpds.io"),
    "nomad": Provider("https://nomad-lab.eu/prod/rae/optimade"),
    "odbx": Provider("https://optimade.odbx.science"),
    "odbx-gnome": Provider("https://optimade-gnome.odbx.science"),
    "omdb": Provider("https://optimade.openmaterialsdb.se"),
    "oqmd": Provider("https://oqmd.org/optimade", "PBE", "CC-BY-4.0", _OQMD),
    "tcod": Provider("https://www.crystallography.net/tcod/optimade", "", "CC0-1.0"),
    "twodmatpedia": Provider("http://optimade.2dmatpedia.org"),
}


def known_provider(name: str) -> tuple[str, Provider]:
    """Name and facts of a provider given by name or address.

    Raises:
        InputError: for a name that is not known and no address.
    """
    if re.match(r"[a-zA-Z][\w+.-]*://", name):
        address = re.sub(r"(/v\d+(\.\d+)*)?(/structures)?/*$", "", name.split("?", 1)[0])
        for label, provider in PROVIDERS.items():
            if address == provider.address:
                return label, provider
        return "", Provider(checked_address(address))
    if name.lower() not in PROVIDERS:
        raise InputError(
            f"{name!r} is no known OPTIMADE provider; give its address (https://...) or one of "
            f"{', '.join(PROVIDERS)}."
        )
    return name.lower(), PROVIDERS[name.lower()]


class OptimadeSource:
    """One filter sent to one provider.

    Args:
        client: speaks to it.
        provider: known name or address.
        filter_text: in the filter language of OPTIMADE, passed on as it is; ``all`` for no filter.
        properties: labels of the provider to ask for; all its numbers when not given.
    """

    def __init__(
        self,
        client: Client,
        provider: str,
        filter_text: str,
        properties: Sequence[str] | None = None,
    ) -> None:
        if not filter_text.strip():
            raise InputError(
                "the filter is empty; write one, for example 'elements HAS \"Li\" AND nsites<=20', "
                f"or {EVERYTHING!r}."
            )
        self._client = client
        self._name, self._facts = known_provider(provider)
        self._filter = "" if filter_text.strip().lower() == EVERYTHING else filter_text.strip()
        self._properties = None if properties is None else tuple(properties)
        self._origin = Provenance(
            provider=self._name,
            filter=self._filter,
            functional=self._facts.functional,
            license=self._facts.license,
            citation=self._facts.citation,
        )

    @property
    def request(self) -> dict[str, Any]:
        """What makes it this query."""
        return {
            "source": "optimade",
            "address": self._facts.address,
            "filter": self._filter,
            "properties": None if self._properties is None else list(self._properties),
        }

    def pages(self, done: Sequence[PageHead]) -> Iterator[Page]:
        """Follow ``links.next`` to its end.

        Raises:
            SourceError: when the provider fails, or sends the same page again.
        """
        seen = {head.cursor for head in done}
        if done:
            self._origin = done[-1].origin
            if not done[-1].next:
                return
        cursor, page = (done[-1].next, None) if done else self._first()
        while True:
            if page is None:
                page = self._page(cursor)
            if cursor in seen or page.next == cursor or page.next in seen:
                raise SourceError(
                    f"{host_of(cursor)} sends the same page again and again ({len(seen) + 1} pages "
                    "so far); tell its maintainers, or narrow the filter."
                )
            seen.add(cursor)
            yield page
            if not page.next:
                return
            cursor, page = page.next, None

    def _first(self) -> tuple[str, Page]:
        """The first page, asked for in the ways that servers accept."""
        fields = self._fields()
        problem: SourceError | None = None
        for root in (f"{self._facts.address}/v1", self._facts.address):
            for size in (_PAGE, None):
                url = with_parameters(
                    f"{root}/structures",
                    {
                        "filter": self._filter or None,
                        "page_limit": size,
                        "response_fields": ",".join(fields) or None,
                        "response_format": "json",
                    },
                )
                try:
                    return url, self._page(url)
                except NotThereError as error:
                    problem = problem or error
                    break
                except RefusedError as error:
                    problem = error
            if isinstance(problem, RefusedError):
                raise problem
        raise problem or SourceError(f"{self._facts.address} does not answer.")

    def _fields(self) -> tuple[str, ...]:
        """What to ask for; nothing in particular where the provider does not say what it has."""
        described = self._described()
        if self._properties is not None:
            missing = [name for name in self._properties if described and name not in described]
            if missing:
                known = ", ".join(sorted(described)) or "none"
                host = host_of(self._facts.address)
                raise InputError(f"{host} has no property {missing[0]!r}; it has {known}.")
            return (*STRUCTURE_FIELDS, *self._properties)
        if not described:
            return ()
        numbers = [name for name, kind in described.items() if kind in _NUMBERS]
        texts = [name for name in described if name.endswith("functional")]
        if len(numbers) > _MOST_LABELS:
            log.warning(
                "%s has %d labels; name those you want with --properties",
                host_of(self._facts.address),
                len(numbers),
            )
            numbers = []
        return (*STRUCTURE_FIELDS, *numbers, *texts)

    def _described(self) -> dict[str, str]:
        """The provider's own properties of structures and their types; reads its license too."""
        found: dict[str, str] = {}
        for root in (f"{self._facts.address}/v1", self._facts.address):
            try:
                info = self._client.get_json(f"{root}/info/structures", attempts=1)
            except NotThereError:
                continue
            # What a provider has is good to know, but structures come without it too.
            except SourceError as error:
                log.info("%s; its labels are not asked for", error)
                break
            data = info.get("data") if isinstance(info, Mapping) else None
            properties = data.get("properties") if isinstance(data, Mapping) else None
            for name, about in (properties if isinstance(properties, Mapping) else {}).items():
                if str(name).startswith("_") and isinstance(about, Mapping):
                    found[str(name)] = _type_of(about)
            self._read_license(root)
            break
        return found

    def _read_license(self, root: str) -> None:
        try:
            info = self._client.get_json(f"{root}/info", attempts=1)
        except SourceError as error:
            log.info("%s; its license is not known", error)
            return
        data = info.get("data") if isinstance(info, Mapping) else None
        attributes = data.get("attributes") if isinstance(data, Mapping) else None
        if not isinstance(attributes, Mapping):
            return
        for key in ("available_licenses_for_entries", "available_licenses"):
            names = attributes.get(key)
            if isinstance(names, list) and names:
                text = " or ".join(str(name) for name in names)
                self._origin = replace(self._origin, license=text)
                return

    def _page(self, url: str) -> Page:
        data = self._client.get_json(url)
        if not isinstance(data, Mapping) or not isinstance(data.get("data"), list):
            raise SourceError(
                f"{host_of(url)} answers with something that is no OPTIMADE response; is the "
                "address right?"
            )
        meta = data.get("meta")
        meta = meta if isinstance(meta, Mapping) else {}
        total = meta.get("data_returned")
        origin = response_provenance(data)
        following = _next(data, url)
        if not following and meta.get("more_data_available") is True:
            raise SourceError(
                f"{host_of(url)} says that there is more but not where (no links.next); tell its "
                "maintainers, or narrow the filter."
            )
        self._origin = replace(
            self._origin,
            provider=self._origin.provider or origin.provider or host_of(url),
            version=origin.version or self._origin.version,
            retrieved_at=now(),
        )
        return Page(
            cursor=url,
            next=following,
            entries=tuple(data["data"]),
            origin=self._origin,
            total=total if isinstance(total, int) and not isinstance(total, bool) else None,
        )

    def entry_id(self, entry: Any) -> str:
        """The id of an entry."""
        return str(entry.get("id", "")) if isinstance(entry, Mapping) else ""

    def crystals(self, pages: Iterable[Page]) -> Iterator[PlainCrystal]:
        """The crystals of the entries, with what is known of the provider."""
        number = 0
        for page in pages:
            for entry in page.entries:
                number += 1
                name = self.entry_id(entry) or f"entry {number}"
                if not isinstance(entry, Mapping):
                    yield failed(name, host_of(page.cursor), "the entry is no structure")
                    continue
                crystal = optimade_crystal(entry, name, f"{host_of(page.cursor)} {name}")
                own = crystal.provenance
                origin = replace(
                    page.origin,
                    entry_id=own.entry_id,
                    version=page.origin.version or own.version,
                    last_modified=own.last_modified,
                    functional=_functional(entry) or page.origin.functional,
                )
                yield replace(crystal, provenance=origin)


def _type_of(about: Mapping[str, Any]) -> str:
    kind = about.get("x-optimade-type") or about.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "")
    return str(kind)


def _functional(entry: Mapping[str, Any]) -> str:
    """The functional, where the entry has a property of that name."""
    attributes = entry.get("attributes")
    for name, value in (attributes if isinstance(attributes, Mapping) else {}).items():
        if name.startswith("_") and name.endswith("functional") and isinstance(value, str):
            return value
    return ""


def _next(data: Mapping[str, Any], url: str) -> str:
    """The address of the next page: a text, or an object with ``href``; empty at the end."""
    links = data.get("links")
    target = links.get("next") if isinstance(links, Mapping) else None
    if isinstance(target, Mapping):
        target = target.get("href")
    if not isinstance(target, str) or not target.strip():
        return ""
    return followed(url, target.strip())
