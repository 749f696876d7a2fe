"""Polite HTTP: waits when asked to, tries again where that helps, keeps the key at home.

Every way in which a database can fail ends in one :class:`SourceError` that says what happened
and what to do.
"""

from __future__ import annotations

import datetime
import email.utils
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from crystal_diffusion.data.records import shorten
from crystal_diffusion.errors import SourceError

log = logging.getLogger(__name__)

#: Seconds to connect, and to wait for the next bytes.
_CONNECT, _READ = 20.0, 60.0
#: Seconds that one answer may take in all, however slowly it trickles.
_ANSWER = 600.0
#: Bytes of one answer, unpacked.
LARGEST_ANSWER = 256 * 2**20
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_CHUNK = 2**16


@dataclass(frozen=True)
class Patience:
    """How long to wait for a database.

    Attributes:
        attempts: how often one request is tried.
        first_wait: seconds before the second attempt; doubled before every further one.
        longest_wait: seconds; a server that asks for more ends the fetch, which can be resumed.
    """

    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 120.0


@dataclass(frozen=True)
class Key:
    """A secret for one database: sent to its home and to nobody else.

    Attributes:
        value: never printed, never stored.
        header: the header that carries it.
        home: address of the database; only its scheme, host and port matter.
    """

    value: str = field(repr=False)
    header: str
    home: str


class Client:
    """Requests to one database, one at a time."""

    def __init__(
        self,
        key: Key | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._key = key
        self._patience = patience or Patience()
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "crystal-diffusion"
        self._strangers: set[str] = set()

    def get_json(
        self, url: str, parameters: Mapping[str, Any] | None = None, attempts: int | None = None
    ) -> Any:
        """The parsed answer.

        Raises:
            SourceError: when there is none.
        """
        return self._try(with_parameters(url, parameters), _parse_json, attempts)

    def get_bytes(self, url: str, parameters: Mapping[str, Any] | None = None) -> bytes:
        """The answer as it is.

        Raises:
            SourceError: when there is none.
        """
        return self._try(with_parameters(url, parameters), lambda raw: raw)

    def _try(self, url: str, parse: Callable[[bytes], Any], attempts: int | None = None) -> Any:
        patience = self._patience
        wait = patience.first_wait
        most = attempts or patience.attempts
        for attempt in range(1, most + 1):
            try:
                return parse(self._answer(url))
            except _Again as problem:
                if attempt == most:
                    raise SourceError(self._hidden(problem.final(attempt))) from None
                pause = wait if problem.wait is None else problem.wait
                if pause > patience.longest_wait:
                    raise SourceError(
                        f"{host_of(url)} asks to wait {pause:.0f} s before the next request; "
                        "run the same command later, it goes on from there."
                    ) from None
                log.warning(self._hidden(f"{problem.text}; trying again in {pause:.0f} s"))
                self._sleep(pause)
                wait *= 2
        raise AssertionError("the last attempt returns or raises")

    def _answer(self, url: str) -> bytes:
        """The body of a successful answer, redirections followed by hand so that the key stays."""
        for _ in range(_MOST_REDIRECTS + 1):
            with self._send(url) as response:
                if response.status_code not in _REDIRECTS:
                    return self._body(response, url)
                target = response.headers.get("Location")
            if not target:
                break
            url = followed(url, target)
        raise SourceError(
            f"{host_of(url)} sends from one address to the next without end; is the address right?"
        )

    def _send(self, url: str) -> requests.Response:
        try:
            return self._session.get(
                url,
                headers=self._headers(url),
                stream=True,
                allow_redirects=False,
                timeout=(_CONNECT, _READ),
            )
        except requests.exceptions.SSLError as error:
            raise SourceError(
                f"{host_of(url)} has no certificate that can be trusted ({_reason(error)}); check "
                "the address and the clock."
            ) from None
        except requests.exceptions.Timeout:
            raise _Again(f"{host_of(url)} does not answer", "try later") from None
        except requests.exceptions.ConnectionError as error:
            raise _Again(
                f"{host_of(url)} cannot be reached ({_reason(error)})",
                "check the network connection and the address",
            ) from None
        except (requests.exceptions.RequestException, ValueError) as error:
            raise SourceError(
                f"{self._hidden(url)} is no address that can be asked ({shorten(error)})."
            ) from None

    def _headers(self, url: str) -> dict[str, str]:
        headers = {"Accept": "application/json, */*;q=0.5"}
        if self._key is None:
            return headers
        if origin_of(url) == origin_of(self._key.home):
            return {**headers, self._key.header: self._key.value}
        if host_of(url) not in self._strangers:
            self._strangers.add(host_of(url))
            log.warning(
                "%s sends on to %s; the key is not sent there",
                host_of(self._key.home),
                host_of(url),
            )
        return headers

    def _body(self, response: requests.Response, url: str) -> bytes:
        status, host = response.status_code, host_of(url)
        if status == 429:
            raise _Again(f"{host} says: too many requests", "try later", _retry_after(response))
        if status >= 500:
            raise _Again(f"{host} answers {status}", "try later", _retry_after(response))
        raw = self._read(response, host)
        if status in (401, 403):
            remedy = "check the key." if self._key else "does it need a key (--key-file)?"
            raise RefusedError(f"{host} refuses ({status}{self._said(raw)}); {remedy}")
        if status == 404:
            raise NotThereError(f"{host} has nothing at {self._hidden(urlsplit(url).path)} (404).")
        if status >= 400:
            said = f"{status}{self._said(raw)}"
            raise RefusedError(f"{host} does not accept the request ({said}); correct the query.")
        return raw

    def _read(self, response: requests.Response, host: str) -> bytes:
        parts: list[bytes] = []
        size, began = 0, time.monotonic()
        try:
            for part in response.iter_content(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > LARGEST_ANSWER:
                    raise SourceError(
                        f"{host} sends more than {LARGEST_ANSWER // 2**20} MiB in one answer; ask "
                        "for less."
                    )
                if time.monotonic() - began > _ANSWER:
                    raise _Again(f"{host} is too slow", "try later")
        except requests.exceptions.RequestException:
            raise _Again(f"the answer of {host} breaks off", "try later") from None
        return b"".join(parts)

    def _said(self, raw: bytes) -> str:
        """What an error page says, in one line, without the key."""
        text = raw[:20_000].decode("utf-8", "replace")
        try:
            found = json.loads(text)
        except ValueError:
            return "" if "<" in text else f": {self._hidden(shorten(text))}" if text.strip() else ""
        details = list(_messages(found))
        return f": {self._hidden(shorten('; '.join(details)))}" if details else ""

    def _hidden(self, text: str) -> str:
        return text.replace(self._key.value, "***") if self._key else text


class NotThereError(SourceError):
    """The address leads nowhere (404)."""


class RefusedError(SourceError):
    """The database does not accept the request or the key (another 4xx)."""


class _Again(Exception):
    """Something that may pass; ``wait`` is what the server asks for, in seconds."""

    def __init__(self, text: str, remedy: str, wait: float | None = None) -> None:
        super().__init__(text)
        self.text, self.remedy, self.wait = text, remedy, wait

    def final(self, attempts: int) -> str:
        return f"{self.text} ({attempts} attempts); {self.remedy}."


def _parse_json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        if raw.lstrip()[:1] not in (b"{", b"["):
            raise SourceError(
                "the answer is no JSON but "
                f"{shorten(raw[:60].decode('utf-8', 'replace'))!r}; is the address right?"
            ) from None
        text = f"the answer is no whole JSON ({shorten(error)})"
        raise _Again(text, "try later") from None


def _messages(data: Any) -> list[str]:
    """The texts under the usual names in the JSON of an error."""
    if isinstance(data, str):
        return [data]
    if isinstance(data, list):
        return [text for entry in data[:3] for text in _messages(entry)]
    if not isinstance(data, Mapping):
        return []
    keys = ("errors", "error", "detail", "message", "msg", "title")
    return [text for key in keys if key in data for text in _messages(data[key])][:3]


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the server asks to wait: a number, or a date."""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return _seconds_until(text)
    except (TypeError, ValueError):
        return None


def _seconds_until(text: str) -> float:
    date = email.utils.parsedate_to_datetime(text)
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())


def _reason(error: Exception) -> str:
    """Why no connection came about, in a few words."""
    text = str(error)
    for needle, words in (
        ("NameResolution", "its name is not known: no network?"),
        ("Connection refused", "connection refused"),
        ("unreachable", "network unreachable"),
        ("Remote end closed", "it closed the connection"),
        ("Connection reset", "it closed the connection"),
        ("certificate", "certificate not accepted"),
        ("ProxyError", "the proxy does not answer"),
    ):
        if needle in text:
            return words
    return type(error).__name__


def with_parameters(url: str, parameters: Mapping[str, Any] | None) -> str:
    """The address with a query; parameters that are ``None`` are left out."""
    given = {k: v for k, v in (parameters or {}).items() if v is not None}
    if not given:
        return url
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(given)}"


def host_of(url: str) -> str:
    """Host and port of an address, for messages."""
    return urlsplit(url).netloc.rsplit("@", 1)[-1]


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a key belongs to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def followed(url: str, target: str) -> str:
    """The address that a link on a page leads to.

    A server behind a gateway often does not know that it is asked by https; its links to itself
    stay https.

    Raises:
        SourceError: where that is no address of the web.
    """
    try:
        address = urljoin(url, target)
    except ValueError:
        address = target
    checked_address(address, url)
    here, there = urlsplit(url), urlsplit(address)
    if (here.scheme, there.scheme) == ("https", "http") and here.netloc == there.netloc:
        return there._replace(scheme="https").geturl()
    return address


def checked_address(url: str, sent_by: str = "") -> str:
    """The address, where it is one of the web.

    Raises:
        SourceError: for another kind of address, as ``file://``.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or True)
    except ValueError:
        fine = False
    if fine and "@" in parts.netloc:
        raise SourceError(
            f"an address of {host_of(url)} has a name or password in it; give the address without "
            "and the secret as --key-file."
        )
    if not fine:
        said = f"{host_of(sent_by)} sends on to" if sent_by else "the address is"
        raise SourceError(f"{said} {shorten(url, 80)!r}; it must begin with https:// or http://.")
    return url
