"""The reference page of the API: endpoints, problem codes and models, generated from the API's own code."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.delivery_urls import LIFETIMES, may_ask_for
from api.openapi import document
from api.problems import KINDS, ProblemCode
from api.routes import ROUTES
from api.routing import ALWAYS, AUTH, BODY, CALLBACK, Endpoint
from api.security.auth import Caller, Role
from api.security.rate_limits import RateLimit
from api.views.content_types import CONTENT_TYPES
from handlers.transcode.probing.allowed_formats import (
    LOCAL_AUDIO,
    LOCAL_DEMUXERS,
    LOCAL_VIDEO,
    SERVICE_AUDIO,
    SERVICE_DEMUXERS,
    SERVICE_VIDEO,
)
from media.asset import DEFAULT_DELIVERY, AssetType
from media.settings import Settings, variable

_HEAD = """\
# API reference

Generated from the API's routes and models by `python -m deploy.reference`. A running API serves the same as
`/openapi.json` and, for people, as `/docs`. How to use it, with examples: [api.md](api.md).

## Endpoints
**Who**: *user* needs a Bearer token and sees their own assets; the roles `service` and `admin` see all assets.
*uploader* is the user who began the upload, whatever the role. *admin* needs a token with that role. *signature* is
`X-Media-Signature`. *token in the URL* is the token in a playlist's address. **Rate** names the limit that counts the
request ([limits](#rate-limits)). Each `GET` also answers `HEAD`, except for streams. † answers 304 to an
`If-None-Match` with the last `ETag`.

"""
_LIMITS_HEAD = """
## Rate limits
Requests of one user in a clock minute. `service` and `admin` have no limits.
"""
_PROBLEMS_HEAD = """
## Problem codes
An error response is `application/problem+json` ([ProblemOut](#problemout)). Compare `code`: its meaning never changes.
`detail` is for people. The codes of *assets*, which say why a file was rejected or failed, are in [codes.md](codes.md).
"""
_ALWAYS = """
Any endpoint may also answer {always}. One that needs a token may answer {auth}, and one that takes a body {body}. To an
unknown method each answers {method}, and to a page of another origin {origin}.
"""
_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_LIMITS = {
    RateLimit.READ: "rate_limit_reads",
    RateLimit.WRITE: "rate_limit_writes",
    RateLimit.URL: "rate_limit_urls",
    RateLimit.STREAM: "rate_limit_streams",
}


def page() -> str:
    """Return the whole page."""
    parts = (_endpoints(), _limits(), _problems(), _types(), _deliveries(), _models())
    return _HEAD + "\n".join("\n".join(part) + "\n" for part in parts)


def _endpoints() -> Iterator[str]:
    yield "| endpoint | what it does | who | request | answer | rate | problems |"
    yield "|---|---|---|---|---|---|---|"
    operations = document()["paths"]
    for route in ROUTES:
        path = _PARAMETER.sub(r"{\1}", route.path)
        summary = operations[path][route.method.lower()]["summary"]
        rate = route.rate if route.bearer else ""
        cells = [f"`{route.method} {path}`", summary, _who(route), _request(route), _answer(route), rate, _codes(route)]
        yield "| " + " | ".join(cells) + " |"
    yield _ALWAYS.format(
        always=_listed(ALWAYS),
        auth=_listed(AUTH),
        body=_listed(BODY),
        method=_listed([ProblemCode.METHOD_NOT_ALLOWED]),
        origin=_listed([ProblemCode.ORIGIN_NOT_ALLOWED]),
    )


def _who(route: Endpoint) -> str:
    if ProblemCode.ADMIN_ONLY in route.problems:
        return "admin"
    if route.bearer:
        return "uploader" if "/multipart/{" in route.path else "user"
    if set(CALLBACK) <= set(route.problems):
        return "signature"
    return "token in the URL" if ProblemCode.UNAUTHENTICATED in route.problems else "anybody"


def _request(route: Endpoint) -> str:
    parts = [_link(route.body.__name__)] if route.body else []
    if route.query:
        parts.append("?" + ", ".join(f"`{name}`" for name in route.query.model_fields))
    return "<br>".join([*parts, *(f"header `{name}`" for name in route.headers)])


def _answer(route: Endpoint) -> str:
    if route.response:
        text = f"{route.status} {_link(route.response.__name__)}"
    else:
        text = f"{route.status}" if route.media_type == "application/json" else f"{route.status} `{route.media_type}`"
    return text + (" †" if route.cached else "")


def _codes(route: Endpoint) -> str:
    """List the problem codes of a route without those that apply to every one."""
    common = {*ALWAYS, *(AUTH if route.bearer else ()), *(BODY if route.body else ())}
    return _listed([code for code in dict.fromkeys(route.problems) if code not in common])


def _listed(codes: Sequence[ProblemCode]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def _limits() -> Iterator[str]:
    yield _LIMITS_HEAD
    yield "| rate | default | setting |\n|---|---|---|"
    for rate, name in _LIMITS.items():
        yield f"| {rate} | {Settings.model_fields[name].default} | `{variable(name)}` |"


def _problems() -> Iterator[str]:
    yield _PROBLEMS_HEAD
    yield "| code | status | meaning |\n|---|---|---|"
    for code, kind in sorted(KINDS.items(), key=lambda item: (item[1].status, item[0])):
        yield f"| `{code}` | {kind.status} | {kind.title} |"


def _types() -> Iterator[str]:
    yield "\n## Content types\nWhat an upload may announce. The bytes of a file decide what it is.\n"
    yield "| asset type | content types | maximum bytes | setting |\n|---|---|---|---|"
    for asset_type in AssetType:
        name = f"{asset_type}_max_bytes"
        types = ", ".join(f"`{one}`" for one in sorted(CONTENT_TYPES[asset_type]))
        yield f"| `{asset_type}` | {types} | {Settings.model_fields[name].default:,} | `{variable(name)}` |"
    yield "\nWhat is read inside films and sound, by ffprobe's names. MediaConvert reads the first column. Of a source"
    yield "that needs the second, the service's own ffmpeg makes the renditions, whichever engine is set.\n"
    yield "| | both engines | ffmpeg alone |\n|---|---|---|"
    read = {
        "containers": (SERVICE_DEMUXERS, LOCAL_DEMUXERS),
        "pictures": (SERVICE_VIDEO, LOCAL_VIDEO),
        "sound": (SERVICE_AUDIO, LOCAL_AUDIO),
    }
    for kind, (service, local) in read.items():
        yield f"| {kind} | {', '.join(sorted(service))} | {', '.join(sorted(local))} |"


def _deliveries() -> Iterator[str]:
    yield "\n## Deliveries\nHow the renditions of an asset are handed out. `service` and `admin` may ask for any.\n"
    yield "| delivery | lifetime of a URL | a user may ask for it with | default of |\n|---|---|---|---|"
    user = Caller("x", Role.USER)
    for delivery, lifetime in LIFETIMES.items():
        minutes = int(lifetime.total_seconds() // 60)
        lifetime_text = "unlimited (24 h without CloudFront)" if delivery == "public" else f"{minutes} min"
        allowed = [f"`{one}`" for one in AssetType if may_ask_for(user, one, delivery)]
        default = [f"`{one}`" for one, named in DEFAULT_DELIVERY.items() if named is delivery]
        default += ["recordings"] if delivery == "webinar_vod" else []
        yield f"| `{delivery}` | {lifetime_text} | {', '.join(allowed)} | {', '.join(default)} |"


def _models() -> Iterator[str]:
    yield "\n## Models\nA request with a field that is not listed here is refused. Times are RFC 3339, in UTC.\n"
    for name, schema in sorted(document()["components"]["schemas"].items()):
        yield f"### {name}"
        if text := schema.get("description"):
            yield " ".join(text.split()) + "\n"
        if "enum" in schema:
            yield ", ".join(f"`{value}`" for value in schema["enum"]) + "\n"
            continue
        yield "| field | type | |\n|---|---|---|"
        for field, part in schema.get("properties", {}).items():
            needed = "" if field in schema.get("required", ()) else "; optional"
            yield f"| `{field}` | {_type(part)}{needed} | {part.get('description', '')} |"
        yield ""


def _type(part: Mapping[str, Any]) -> str:
    if options := part.get("anyOf"):
        return " or ".join(_type(option) for option in options)
    if ref := part.get("$ref"):
        return _link(ref.rpartition("/")[2])
    if values := part.get("enum") or ([part["const"]] if "const" in part else []):
        return ", ".join(f"`{value}`" for value in values)
    match part.get("type", "any"):
        case "array":
            return f"list of {_type(part['items'])}{_range(part, 'minItems', 'maxItems')}"
        case "object":
            return f"object, each value: {_type(part.get('additionalProperties', {}))}"
        case kind:
            kind = "/".join(kind) if isinstance(kind, list) else kind
            bounds = _range(part, "minimum", "maximum") or _range(part, "minLength", "maxLength")
            return f"{part.get('format', kind)}{bounds}"


def _range(part: Mapping[str, Any], minimum: str, maximum: str) -> str:
    if minimum in part and maximum in part:
        return f" ({part[minimum]:,} to {part[maximum]:,})"
    if maximum in part:
        return f" (at most {part[maximum]:,})"
    return f" (at least {part[minimum]:,})" if minimum in part else ""


def _link(model: str) -> str:
    return f"[{model}](#{model.lower()})"
