"""Write Grafana's dashboard from `deploy.panels`: `python -m deploy.dashboard [--check]`.

With `--check` nothing is written; exit status 1 means that the file is out of date.
"""

import json
import sys
from collections.abc import Iterator
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
"""A Grafana variable with the runbook's address, as deploy/prometheus/runbook.yaml names it."""


def document() -> str:
    """Return the whole dashboard as JSON."""
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
        "panels": list(_panels()),
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    numbers, y = count(1), 0
    for row in ROWS:
        number = next(numbers)
        panels = list(_row_panels(row, y + 1, numbers))
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.folded,
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
            "panels": panels if row.folded else [],
        }
        if not row.folded:
            yield from panels
        y += 1 + sum(height for height, _ in row.lines)


def _row_panels(row: Row, y: int, numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    for height, panels in row.lines:
        share = COLUMNS // len(panels)
        for position, panel in enumerate(panels):
            x = position * share
            width = share if position < len(panels) - 1 else COLUMNS - x  # the last panel takes the remainder
            yield _panel(panel, next(numbers), {"h": height, "w": width, "x": x, "y": y})
        y += height


def _panel(panel: Panel, number: int, position: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + n), "expr": expression, "legendFormat": legend, "datasource": _SOURCE}
        | ({"instant": True} if panel.kind == "bargauge" else {})
        # Points lead to the trace ids in our log lines, where Prometheus stores exemplars.
        | ({"exemplar": True} if "_bucket" in expression else {})
        for n, (expression, legend) in enumerate(panel.queries)
    ]
    found: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "targets": targets,
    }
    reduced = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    if panel.kind == "bargauge":
        found["options"] = reduced | {"orientation": "horizontal", "displayMode": "basic"}
    elif panel.kind == "stat":
        found["options"] = reduced | {"colorMode": "background" if panel.limit else "value"}
    return found


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.highest is not None:
        found["max"] = panel.highest
    if panel.stacked:
        found["custom"] = {"stacking": {"mode": "normal"}, "fillOpacity": 30}
    if panel.kind == "stat":
        found["noValue"] = "–"  # no data, such as in a night without uploads
        below, above = ("red", "green") if panel.limit < 0 else ("green", "red")
        steps = [{"color": below, "value": None}, {"color": above, "value": abs(panel.limit)}]
        found["thresholds"] = {"mode": "absolute", "steps": steps if panel.limit else steps[:1]}
    return found


def outdated() -> bool:
    """Tell whether the file differs from the panels."""
    return not FILE.is_file() or FILE.read_text() != document()


def main(arguments: list[str]) -> int:
    """Write or check the dashboard; exit status 0 written or up to date, 1 out of date, 2 wrong usage."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m deploy.dashboard [--check]\n")
        return 2
    if arguments:
        return int(outdated())
    FILE.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
