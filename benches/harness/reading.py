"""The load generator's report, read into the figures that scenarios compare."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

Json = Mapping[str, Any]

DELAYS = ("p50", "p90", "p99", "p999")


class UnmeasuredError(RuntimeError):
    """The run cannot be believed: too many failures, or nothing happened."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One part of a report, or all of it."""

    part: Json
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, report: Json) -> Self:
        """The reported parts together."""
        return cls(report["total"], tuple(report["warnings"]))

    @classmethod
    def parts(cls, report: Json) -> dict[str, "Reading"]:
        """Each part by its name."""
        return {part["name"]: cls(part) for part in report["parts"]}

    def count(self, name: str) -> int:
        """A counter of the part, or of its outcomes."""
        outcomes: Mapping[str, int] = self.part["outcomes"]
        return int(outcomes[name] if name in outcomes else self.part[name])

    @property
    def seconds(self) -> float:
        """How long the part was."""
        return float(self.part["duration_s"])

    def us(self, distribution: str, quantile: str) -> float:
        """A quantile in microseconds, as `us("token_delay", "p99")`."""
        return float(self.part[distribution][f"{quantile}_us"])

    def has(self, distribution: str) -> bool:
        """Whether anything was recorded in a distribution."""
        return bool(self.part[distribution]["count"])

    def cpu_us(self, unit: str) -> float:
        """CPU of the watched processes for each `request` or `token`."""
        return float(self.part["cpu_us_per_token" if unit == "token" else "cpu_us_per_answer"])

    def units(self, unit: str) -> int:
        """How many tokens, or good answers."""
        return self.count("tokens" if unit == "token" else "good")

    @property
    def user_share(self) -> float:
        """Part of the CPU time that was in user mode."""
        user = sum(process["user_us"] for process in self.part["processes"])
        total = user + sum(process["system_us"] for process in self.part["processes"])
        return user / total if total else 0.0

    def sample(self, unit: str) -> dict[str, float]:
        """The figures of one round; the CPU time comes first.

        Raises:
            UnmeasuredError: there was nothing to divide by.
        """
        if not self.units(unit):
            msg = f"no {unit} was seen"
            raise UnmeasuredError(msg)
        kind = "token_delay" if unit == "token" else "latency"
        found = {
            "cpu_us": self.cpu_us(unit),
            "user_share": self.user_share,
            "per_second": self.units(unit) / self.seconds,
            "generator_busy": float(self.part["generator_busy"]),
        }
        found |= {f"delay_{quantile}_us": self.us(kind, quantile) for quantile in DELAYS}
        if unit == "token":
            found["bytes"] = self.count("bytes_received") / self.units(unit)
            if self.has("first_token"):
                found["first_token_p50_us"] = self.us("first_token", "p50")
        return found
