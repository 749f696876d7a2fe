"""What a check answers, and what all checks of one crystal answer together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from crystal_diffusion.errors import InputError

#: An error makes a crystal invalid; a warning is odd but occurs in nature; a note only names.
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class CheckResult:
    """One rule applied to one crystal.

    Attributes:
        name: name of the check, as in ``validator.CHECKS``.
        passed: whether the value is inside the limit.
        value: what was found; ``None`` where the rule does not apply.
        limit: the limit that was really used, in words, e.g. ``">= 0.7"``.
        unit: unit of value and limit; empty for a pure number.
        reason: one sentence: what was found and why it passes or fails.
        source: where the rule and its limit come from.
        severity: how much a failure weighs.
    """

    name: str
    passed: bool
    value: float | str | None
    limit: str
    unit: str
    reason: str
    source: str
    severity: Severity

    def __post_init__(self) -> None:
        if self.severity not in get_args(Severity):
            raise InputError(
                f"severity of check '{self.name}' is {self.severity!r}; "
                "use 'error', 'warning' or 'note'."
            )

    def __bool__(self) -> bool:
        """Whether the check passed, so that ``if validator.check_...(...)`` means what it says."""
        return self.passed

    def to_dict(self) -> dict[str, object]:
        """The result as plain values for JSON."""
        return {
            "name": self.name,
            "passed": self.passed,
            "value": self.value,
            "limit": self.limit,
            "unit": self.unit,
            "reason": self.reason,
            "source": self.source,
            "severity": self.severity,
        }


@dataclass(frozen=True)
class ValidationReport:
    """All rules for one crystal, in the order in which they were applied."""

    checks: tuple[CheckResult, ...]

    @property
    def valid(self) -> bool:
        """Whether no check of severity error failed."""
        return not self.errors

    @property
    def errors(self) -> tuple[CheckResult, ...]:
        """Failed checks of severity error."""
        return self._failed("error")

    @property
    def warnings(self) -> tuple[CheckResult, ...]:
        """Failed checks of severity warning."""
        return self._failed("warning")

    @property
    def notes(self) -> tuple[CheckResult, ...]:
        """Failed checks of severity note: something to know, nothing wrong."""
        return self._failed("note")

    def __bool__(self) -> bool:
        """Whether the crystal is valid."""
        return self.valid

    def _failed(self, severity: Severity) -> tuple[CheckResult, ...]:
        return tuple(c for c in self.checks if not c.passed and c.severity == severity)

    def check(self, name: str) -> CheckResult:
        """The result of one check.

        Raises:
            InputError: if no check of that name was applied.
        """
        for result in self.checks:
            if result.name == name:
                return result
        raise InputError(
            f"no check '{name}' in this report; it has {', '.join(c.name for c in self.checks)}."
        )

    def to_dict(self) -> dict[str, object]:
        """The report as plain values for JSON."""
        return {"valid": self.valid, "checks": [c.to_dict() for c in self.checks]}
