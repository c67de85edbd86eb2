"""The templates of CloudFormation, as they are shipped."""

from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml  # type: ignore[import-untyped] # ships no types

TEMPLATES = Path(__file__).parents[2] / "cloudformation"
PARTS = ("media", "roles", "edge", "service", "signatures", "alarms")
"""The templates in the order of their deployment: each imports only what an earlier one exports."""


def template(part: str) -> dict[str, Any]:
    """Return a template as it is shipped."""
    decoded: dict[str, Any] = cfn_yaml.load(str(TEMPLATES / f"{part}.yaml"))
    return decoded
