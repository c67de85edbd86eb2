"""What a check found. Frozen; as text for people, as JSON for programs."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum


class Rule(StrEnum):
    """What was broken; stable words."""

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
    SOUNDS = "sounds"


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach. `where` is the address as the playlist writes it, without its query."""

    rule: Rule
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class VariantReport:
    """What one variant declares and what was measured, in bits per second and seconds."""

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


@dataclass(frozen=True, slots=True)
class Report:
    variants: tuple[VariantReport, ...]
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        return not self.findings

    def to_json(self) -> str:
        return json.dumps({"clean": self.clean, **asdict(self)}, indent=2)

    def __str__(self) -> str:
        lines = [
            f"{one.uri}: {one.resolution or 'sound'} {one.codecs} {one.segments} segments, {one.duration:.3f} s, "
            f"peak {one.measured_bandwidth} (declared {one.declared_bandwidth}), "
            f"average {one.measured_average} (declared {one.declared_average})"
            for one in self.variants
        ]
        lines += [f"{one.rule}: {one.where}: {one.message}" for one in self.findings]
        return "\n".join([*lines, "clean" if self.clean else f"{len(self.findings)} findings"])
