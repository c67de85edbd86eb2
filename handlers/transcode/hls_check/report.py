"""The result of a check. Frozen; as text for people, as JSON for programs."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from urllib.parse import urlsplit


class Rule(StrEnum):
    """The rule that a finding breaks. The values are stable."""

    READABLE = "readable"
    VARIANTS = "variants"
    ATTRIBUTES = "attributes"
    BANDWIDTH = "bandwidth"
    TARGET_DURATION = "target_duration"
    COMPLETE = "complete"
    I_FRAMES = "i_frames"
    KEY_FRAMES = "key_frames"
    ALIGNMENT = "alignment"
    DURATIONS = "durations"
    ALTERNATE_AUDIO = "sounds"
    CODECS = "codecs"
    RESOLUTION = "resolution"
    FRAME_RATE = "frame_rate"
    DAMAGED = "damaged"
    KEY_FRAME_INTERVAL = "key_frame_interval"
    I_FRAME_RANGES = "i_frame_ranges"
    I_FRAME_BANDWIDTH = "i_frame_bandwidth"
    VERSION = "version"
    REPEATED = "repeated"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach. `where` is the address as the playlist writes it, without its query."""

    rule: Rule
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class VariantReport:
    """One variant: what it declares and what was measured, in bits per second and seconds."""

    uri: str
    resolution: str
    codecs: str
    frame_rate: float | None
    segments: int
    duration: float
    declared_bandwidth: int | None
    measured_bandwidth: int
    declared_average: int | None
    measured_average: int
    examined: int = 0
    """How many of the segments were read from end to end."""


@dataclass(frozen=True, slots=True)
class Report:
    variants: tuple[VariantReport, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    """Segments that were not looked into, and why. The findings say nothing about them."""

    @property
    def clean(self) -> bool:
        return not self.findings

    def to_json(self) -> str:
        return json.dumps({"clean": self.clean, **asdict(self)}, indent=2)

    def __str__(self) -> str:
        lines = [
            f"{one.uri}: {one.resolution or 'sound'} {one.codecs} {one.segments} segments ({one.examined} read whole), "
            f"{one.duration:.3f} s, "
            f"peak {one.measured_bandwidth} (declared {one.declared_bandwidth}), "
            f"average {one.measured_average} (declared {one.declared_average})"
            for one in self.variants
        ]
        lines += [f"{one.rule}: {one.where}: {one.message}" for one in self.findings]
        lines += [f"not examined: {note}" for note in self.notes]
        return "\n".join([*lines, "clean" if self.clean else f"{len(self.findings)} findings"])


def short(address: str) -> str:
    """Return the last part of an address without its query, which may hold a signature."""
    return urlsplit(address).path.rpartition("/")[2] or address[:80]
