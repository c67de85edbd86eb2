"""Write the reference pages that are generated from the code: `python -m deploy.reference [--check]`.

docs/configuration.md comes from `media.settings` and the scanner's own settings, docs/parameters.md from the templates
of CloudFormation, docs/codes.md from `media.errors`, docs/failures.md from the adapters and the matrix of fault tests,
docs/webinar-recording.schema.json from `media.contracts`, docs/asset-event.schema.json from
`media.events.asset_event`, docs/api-reference.md from the API's routes and models. With
`--check` nothing is written; exit status 1 means that a page is out of date.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deploy import api_reference
from deploy.local.rehearsal.templates import PARTS, template
from handlers.scan.clamd.failures import MEANINGS as MEANINGS_OF_CLAMD
from handlers.scan.signatures.settings import ScannerSettings
from media.asset_store.postgres_errors import describe
from media.aws import failures as aws_failures
from media.aws import mediaconvert, s3_errors, sqs_errors
from media.contracts import WebinarRecording
from media.errors import MEANINGS
from media.events import asset_event, eventbridge
from media.settings import Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"

_CONFIGURATION = """\
# Configuration

Generated from `media/settings.py` by `python -m deploy.reference`. All settings are read once, at start, from the
environment and from `.env` in the working folder. One message reports all wrong and missing settings, and the exit
status is 2. White space around a value, the line ending that a file mounted as a variable leaves, and a byte order mark
are removed. A secret may begin or end with a space, so only the mark and line endings are removed from it. Sizes are
bytes, times seconds. Lists are separated by commas. AWS's own variables (`AWS_REGION`, `AWS_ENDPOINT_URL`,
credentials, …) have their usual meaning.

Every HTTP client of the service (AWS's, the one for the keys at `MEDIA_JWT_JWKS_URL`, ffprobe) uses the proxy that
`HTTP_PROXY` or `HTTPS_PROXY` names for the scheme of the address. Hosts in `NO_PROXY` (comma-separated, with all names
below them) are reached directly, and so are loopback and link-local addresses (ECS's agent and credentials). On EC2,
put `169.254.169.254` into `NO_PROXY`: AWS's library asks for the instance's credentials itself.

| variable | default | meaning |
|---|---|---|
"""
_SCANNER = """
## The scanner's container
`python -m handlers.scan.signatures` has few settings of its own, beside those for AWS and for its log. It reads no
`.env`. Without `OUTPUT_BUCKET` each scanner asks the public mirror itself.

| variable | default | meaning |
|---|---|---|
"""
_CODES = """\
# Codes of assets

Generated from `media/errors.py` by `python -m deploy.reference`. A code is stable: programs may compare it. The
`detail` beside it is for people and may change. Error responses of the API have their own codes:
[api-reference.md](api-reference.md#problem-codes).

| code | meaning |
|---|---|
"""
_TOLD = """
## Entries of a timeline about events
`event_sent`: other services were told. The bus took the event that `detail` names, with its number and its id. The
entry has the time at which it did; the event itself has the time of the change ([events.md](events.md)).
A timeline with 50 of them notes no further `changed` one.
"""
_MOVED = """
## Entries of a timeline about the delivery
| entry | meaning |
|---|---|
| `delivery_changing` | another delivery was asked for: the files are being copied, and are served from the old place |
| `delivery_changed` | they are served from the new place |
| `delivery_kept` | nothing was switched: a file is gone, or the asset ended meanwhile. `detail` says which |
"""
_FAILURES = """\
# Failures of dependencies

Generated from the adapters' tables and from `tests/faults/matrix.csv` by `python -m deploy.reference`. Every exception
of a call has one of five kinds:

| kind | what becomes of the work |
|---|---|
| `input` | the file or the message is rejected |
| `retry` | nothing was done: the adapter repeats the call at once, a few times, then it is unavailable |
| `refused` | a call that must succeed decides: `unavailable` where it fails too; else the attempt counts |
| `unavailable` | the message is released uncounted, and the queues that need the dependency pause until it is back |
| `bug` | the error is logged once with its stack and its trace id, and the attempt counts |

"""
_POSTGRES = """\
## Postgres

None is the file's fault. The last column is what becomes of the connection: `keep`, `drop`, or `expire all`, which
replaces the pool's other connections too, since they lead to the same wrong server.

| what is met | meaning | kind | connection |
|---|---|---|---|
"""
_AWS = """\
## S3, SQS, MediaConvert and EventBridge

Codes of one service stand first. What is `refused` is decided by writing and reading the object `private/self-test` in
the output bucket (S3), and by ListJobs (MediaConvert). For SQS it is `unavailable`: no call names anything that is a
file's. For EventBridge too, and no queue pauses: events wait in their outbox. A part whose calls end in nothing but
`any other exception` makes the daemon unready after three in a row, and ends it in order after ten minutes.

| service | what is met | meaning | kind |
|---|---|---|---|
"""
_CLAMD = """## clamd

| what is met | meaning | kind |
|---|---|---|
"""
_MATRIX = """\
## What is tried

`tests/faults/test_matrix.py` lets each dependency fail in each way, while a consumer has a message in each phase of its
work. Postgres fails for eight seconds, the others until a heartbeat or `/readyz` has met the fault, and for three
seconds at least. A default run tries a sample, `./test.sh -m soak` all. In every cell `/livez` stays 200, every upload
ends as it should, nothing comes to the dead letters, and a consumer is ready within ten seconds of the fault's end.

| word | what else must hold |
|---|---|
| `waits` | `/readyz` is 503 within 15 s, while the fault lasts |
| `goes on` | the consumer need not notice: `/readyz` answers 200 while the fault lasts |
| `flaps` | `/readyz` may answer either, as the dependency does |
| `ends` | SIGTERM amid the fault: exit status 0 within the drain timeout |
| `+ 1` | one attempt may count: a lost answer to a claim looks like a worker's death; a file may be why clamd went |
| `-` | the fault makes no sense there: see the remark |

`read-only`: S3 refuses PUT, POST and DELETE; SQS refuses to send, delete and extend; MediaConvert refuses CreateJob and
lists jobs. `full`: S3, SQS and MediaConvert have too many requests, clamd's disk takes no stream. `wrong answers`: a
proxy's page, and from the source of credentials such as have expired.

"""


def failures() -> str:
    """Return what each error of a dependency means, and what is tried."""
    rows = [f"| {name} | {f.meaning} | {f.kind} | {f.session} |" for name, f in describe()]
    lines = (DOCS.parent / "tests" / "faults" / "matrix.csv").read_text().splitlines()
    matrix = [f"| {line.replace(',', ' | ')} |" for line in lines]
    matrix.insert(1, "|---" * (lines[0].count(",") + 1) + "|")
    tables = {"S3": s3_errors.CODES, "SQS": sqs_errors.CODES, "MediaConvert": mediaconvert.CODES}
    tables["EventBridge"] = eventbridge.CODES
    aws = [
        f"| {service} | {names} | {failure.meaning} | {failure.kind} |"
        for service, codes in tables.items()
        for names, failure in aws_failures.describe(codes)
    ]
    aws += [
        f"| all | {names} | {failure.meaning} | {failure.kind} |" for names, failure in aws_failures.describe_common()
    ]
    clamd = [f"| {name} | {meaning} | {kind} |" for name, kind, meaning in MEANINGS_OF_CLAMD]
    parts = [_POSTGRES + "\n".join(rows), _AWS + "\n".join(aws), _CLAMD + "\n".join(clamd), _MATRIX + "\n".join(matrix)]
    return _FAILURES + "\n\n".join(parts) + "\n"


_PARAMETERS = """\
# Parameters of the templates

Generated from `deploy/cloudformation/*.yaml` by `python -m deploy.reference`. One file of parameters serves all six
templates (`deploy/cloudformation/parameters.json` is its beginning), and each takes those that it declares. Settings
without a parameter go into the file at `SettingsFileArn`.

| parameter | templates | default | allowed | meaning |
|---|---|---|---|---|
"""


def parameters() -> str:
    """Return the table of all parameters of the templates."""
    declared: dict[str, Any] = {}
    templates: dict[str, list[str]] = {}
    for part in PARTS:
        for name, info in template(part)["Parameters"].items():
            declared[name] = info
            templates.setdefault(name, []).append(part)
    rows = []
    for name, info in declared.items():
        default = (
            f"`{info['Default']}`" if info.get("Default", "") != "" else "" if "Default" in info else "**required**"
        )
        cells = (
            f"`{name}`",
            ", ".join(templates[name]),
            default,
            _allowed(info),
            info["Description"].replace("|", "/"),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return _PARAMETERS + "\n".join(rows) + "\n"


def _allowed(info: Mapping[str, Any]) -> str:
    """Return what a parameter may be, for a cell of a table; patterns are too long for one."""
    if "AllowedValues" in info:
        return ", ".join(f"`{value}`" for value in info["AllowedValues"])
    return f"{info['MinValue']} to {info['MaxValue']}" if "MinValue" in info else ""


def configuration() -> str:
    """Return the tables of all environment variables."""
    own = {n: f for n, f in ScannerSettings.model_fields.items() if n not in Settings.model_fields}
    return _CONFIGURATION + _rows(Settings.model_fields) + _SCANNER + _rows(own)


def _rows(fields: Mapping[str, FieldInfo]) -> str:
    rows = []
    for name, field in fields.items():
        required = field.default is PydanticUndefined
        value = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        default = "**required**" if required else f"`{value}`" if value not in {None, ""} else ""
        alias = field.validation_alias
        variable = str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"MEDIA_{name.upper()}"
        rows.append(f"| `{variable}` | {default} | {(field.description or '').replace('|', '/')} |\n")
    return "".join(rows)


def codes() -> str:
    """Return the table of all codes that an asset, its timeline or a dead letter may carry."""
    rows = [f"| `{code}` | {meaning} |" for code, meaning in MEANINGS.items()]
    return _CODES + "\n".join(rows) + "\n" + _TOLD + _MOVED


def webinar_schema() -> str:
    """Return the JSON Schema of the webinar service's message."""
    return json.dumps(WebinarRecording.model_json_schema(), indent=2) + "\n"


def event_schema() -> str:
    """Return the JSON Schema of the events that other services are told."""
    return json.dumps(asset_event.schema(), indent=2) + "\n"


PAGES = {
    "configuration.md": configuration,
    "parameters.md": parameters,
    "codes.md": codes,
    "failures.md": failures,
    "webinar-recording.schema.json": webinar_schema,
    "asset-event.schema.json": event_schema,
    "api-reference.md": api_reference.page,
}


def outdated() -> list[str]:
    """Return the names of the pages that differ from the code."""
    texts = {name: (DOCS / name).read_text() for name in PAGES if (DOCS / name).is_file()}
    return [name for name, page in PAGES.items() if texts.get(name) != page()]


def main(arguments: list[str]) -> int:
    """Write or check the pages; exit status 0 all written or up to date, 1 out of date, 2 wrong usage."""
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
