"""Writes the reference pages that are made from the code: `python -m deploy.reference [--check]`.

docs/configuration.md comes from `media.settings`, docs/codes.md from `media.errors`, docs/webinar-recording.schema.json
from `media.contracts`, docs/api-reference.md from the API's routes and models. With `--check` nothing is written; exit
status 1 says that a page is out of date.
"""

import json
import sys
from pathlib import Path

from pydantic_core import PydanticUndefined

from deploy import api_reference
from media.contracts import WebinarRecording
from media.errors import MEANINGS
from media.settings import Settings, variable

DOCS = Path(__file__).resolve().parents[1] / "docs"

_CONFIGURATION = """\
# Configuration

Made from `media/settings.py` by `python -m deploy.reference`. Everything is read once, at start, from the environment
and from `.env` in the working folder; what is wrong or missing is reported in one message, and the exit status is 2.
White space around a value, a line's end that a file mounted as a variable leaves there, and a byte order mark are taken
off; of a secret only the mark and the ends of lines, since it may begin or end with a space. Sizes are bytes, times
seconds. Lists are separated by commas. AWS's own variables (`AWS_REGION`, `AWS_ENDPOINT_URL`, credentials, …) mean what
they mean everywhere.

Every HTTP client of the service (AWS's, the one for the keys at `MEDIA_JWT_JWKS_URL`, ffprobe) leaves by the proxy that
`HTTP_PROXY` or `HTTPS_PROXY` names for the address's scheme, but for the hosts in `NO_PROXY` (with all names below
them, comma-separated). No proxy is asked for what is on this machine or link-local (loopback, ECS's agent and
credentials). On EC2, put `169.254.169.254` into `NO_PROXY`: AWS's library asks for the instance's credentials itself.

| variable | default | what it is |
|---|---|---|
"""
_CODES = """\
# Codes of assets

Made from `media/errors.py` by `python -m deploy.reference`. A code is stable: programs may compare it. The `detail`
beside it is for people and may change. What the API refuses has codes of its own:
[api-reference.md](api-reference.md#problem-codes).

| code | meaning |
|---|---|
"""


def configuration() -> str:
    """The table of all environment variables."""
    rows = []
    for name, field in Settings.model_fields.items():
        required = field.default is PydanticUndefined
        default = (
            "**required**" if required else f"`{_shown(field.default)}`" if field.default not in (None, ()) else ""
        )
        rows.append(f"| `{variable(name)}` | {default} | {(field.description or '').replace('|', '/')} |")
    return _CONFIGURATION + "\n".join(rows) + "\n"


def codes() -> str:
    """The table of all codes that an asset, its timeline or a dead letter may carry."""
    rows = [f"| `{code}` | {meaning} |" for code, meaning in MEANINGS.items()]
    return _CODES + "\n".join(rows) + "\n"


def webinar_schema() -> str:
    """The JSON Schema of the webinar service's message."""
    return json.dumps(WebinarRecording.model_json_schema(), indent=2) + "\n"


PAGES = {
    "configuration.md": configuration,
    "codes.md": codes,
    "webinar-recording.schema.json": webinar_schema,
    "api-reference.md": api_reference.page,
}


def outdated() -> list[str]:
    """The pages that do not say what the code says."""
    return [name for name, page in PAGES.items() if not _same(DOCS / name, page())]


def main(arguments: list[str]) -> int:
    """Exit status 0 all written or up to date, 1 out of date, 2 wrong usage."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m deploy.reference [--check]\n")
        return 2
    if arguments:
        names = outdated()
        sys.stderr.write("".join(f"docs/{name} is out of date: run python -m deploy.reference\n" for name in names))
        return 1 if names else 0
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
    return 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
