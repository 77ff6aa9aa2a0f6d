"""Reads the exposition format back."""

import re
from dataclasses import dataclass
from typing import Self

LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)(?: .*)?$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """One line."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Metrics:
    """One scrape."""

    samples: list[Sample]
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text format."""
        samples = []
        for line in text.splitlines():
            if not line.startswith("#") and (found := LINE.match(line)):
                labels = dict(LABEL.findall(found[2] or ""))
                samples.append(Sample(found[1], labels, float(found[3])))
        return cls(samples, text)

    def select(self, name: str, **labels: str) -> list[Sample]:
        """Samples of that name that carry the labels."""
        return [
            sample
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """Their sum; 0 when there is none."""
        return sum(sample.value for sample in self.select(name, **labels))

    def names(self) -> set[str]:
        """All sample names."""
        return {sample.name for sample in self.samples}
