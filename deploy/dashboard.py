"""Writes Grafana's dashboard from `deploy.panels`: `python -m deploy.dashboard [--check]`.

With `--check` nothing is written; exit status 1 says that the file is out of date.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from deploy.panels import ROWS, Panel, Row

FILE = Path(__file__).parent / "grafana" / "dashboards" / "media.json"
COLUMNS = 24
_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_RUNBOOK = {
    "name": "runbook",
    "type": "query",
    "hide": 2,
    "refresh": 1,
    "datasource": _SOURCE,
    "query": {"query": "label_values(media:runbook:info, url)", "refId": "runbook"},
    "definition": "label_values(media:runbook:info, url)",
}
"""The address that deploy/prometheus/runbook.yaml names."""


def document() -> str:
    """The whole dashboard, as JSON."""
    panels = list(_panels())
    found = {
        "uid": "media",
        "title": "Docfliq media",
        "tags": ["media"],
        "timezone": "utc",
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"title": "Runbook", "type": "link", "url": "${runbook}", "targetBlank": True}],
        "templating": {"list": [_RUNBOOK]},
        "panels": panels,
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    numbers, y = count(1), 0
    for row in ROWS:
        number = next(numbers)
        inside = list(_inside(row, y + 1, numbers))
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.folded,
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
            "panels": inside if row.folded else [],
        }
        if not row.folded:
            yield from inside
        y += 1 + sum(height for height, _ in row.lines)


def _inside(row: Row, y: int, numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    for height, panels in row.lines:
        x = 0
        for panel, width in zip(panels, _widths(panels), strict=True):
            place = {"h": height, "w": width, "x": x, "y": y}
            yield _panel(panel, next(numbers), place)
            x += width
        y += height


def _widths(panels: Sequence[Panel]) -> list[int]:
    """Equal shares; the last one has what is left."""
    share = COLUMNS // len(panels)
    return [share] * (len(panels) - 1) + [COLUMNS - share * (len(panels) - 1)]


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + n), "expr": expression, "legendFormat": legend, "datasource": _SOURCE}
        | ({"instant": True} if panel.kind == "bargauge" else {})
        for n, (expression, legend) in enumerate(panel.queries)
    ]
    found: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "targets": targets,
    }
    return found | ({} if panel.kind == "timeseries" else {"options": _options(panel)})


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.highest is not None:
        found["max"] = panel.highest
    if panel.stacked:
        found["custom"] = {"stacking": {"mode": "normal"}, "fillOpacity": 30}
    if panel.kind == "stat":
        found["noValue"] = "–"  # a night without uploads
        found["thresholds"] = {"mode": "absolute", "steps": _steps(panel.limit)}
    return found


def _steps(limit: float) -> list[dict[str, Any]]:
    if limit < 0:
        return [{"color": "red", "value": None}, {"color": "green", "value": -limit}]
    return [{"color": "green", "value": None}, *([{"color": "red", "value": limit}] if limit else [])]


def _options(panel: Panel) -> dict[str, Any]:
    reduced = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    if panel.kind == "bargauge":
        return reduced | {"orientation": "horizontal", "displayMode": "basic"}
    return reduced | {"colorMode": "background" if panel.limit else "value"}


def outdated() -> bool:
    """Whether the file says something else than the panels."""
    return not FILE.is_file() or FILE.read_text() != document()


def main(arguments: list[str]) -> int:
    """Exit status 0 written or up to date, 1 out of date, 2 wrong usage."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m deploy.dashboard [--check]\n")
        return 2
    if arguments:
        return int(outdated())
    FILE.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
