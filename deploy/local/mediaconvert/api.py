"""MediaConvert's REST-JSON API, version 2017-08-29: the operations that a transcoding service uses."""

import hashlib
import json
import time
from typing import Any

from aiohttp import web
from botocore.model import Shape

from deploy.local.mediaconvert import errors
from deploy.local.mediaconvert.config import Config
from deploy.local.mediaconvert.document import JobRequest
from deploy.local.mediaconvert.job import Job, Status, job_view, new_job_id
from deploy.local.mediaconvert.job_store import Filter, JobStore
from deploy.local.mediaconvert.runner import Runner
from deploy.local.mediaconvert.semantics import problems
from deploy.local.mediaconvert.validation import from_wire, operation, to_wire, violations, wire_name

VERSION = "/2017-08-29"
TOKEN_LIFE = 60.0
"""Seconds for which a repeated ClientRequestToken creates no second job; the service's documented minute."""
BODY_LIMIT = 1024 * 1024
"""Bytes of a request."""
PAGE = 20
"""Jobs of a page unless MaxResults is less; also the service's maximum."""
INPUT_FILE_LIMIT = 300
"""Characters of SearchJobs' InputFile."""

CONFIG = web.AppKey("config", Config)
STORE = web.AppKey("store", JobStore)
RUNNER = web.AppKey("runner", Runner)

routes = web.RouteTableDef()


def application(config: Config, store: JobStore, runner: Runner) -> web.Application:
    app = web.Application(middlewares=[_error_writer], client_max_size=BODY_LIMIT)
    app[CONFIG], app[STORE], app[RUNNER] = config, store, runner
    app.add_routes(routes)
    return app


@routes.get("/health")
async def health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "service": "mediaconvert"})


@routes.post(f"{VERSION}/jobs")
async def create_job(request: web.Request) -> web.Response:
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise errors.bad_request("The request body is not JSON.") from None
    requested = _parse_job_request(body)
    config, store = request.app[CONFIG], request.app[STORE]
    if requested.queue not in {None, "Default", config.queue_arn}:
        raise errors.not_found(f"The queue {requested.queue} does not exist.")
    fingerprint = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    token = requested.client_request_token
    job = store.by_token(token, time.time() - TOKEN_LIFE) if token else None
    if job and job.fingerprint != fingerprint:
        raise errors.conflict("The client request token was used less than a minute ago for another request.")
    if job is None:
        job = Job(
            job_id=new_job_id(),
            token=token,
            fingerprint=fingerprint,
            role=requested.role,
            settings=requested.settings,
            user_metadata=requested.user_metadata,
            input_file=requested.job_settings.inputs[0].file_input or "",
            created_at=time.time(),
            status_update_interval=requested.status_update_interval,
        )
        request.app[RUNNER].submit(job)
    return _json_response("CreateJob", {"Job": job_view(job, config)}, status=201)


@routes.get(f"{VERSION}/jobs/{{id}}")
async def get_job(request: web.Request) -> web.Response:
    job = request.app[STORE].get(request.match_info["id"])
    return _json_response("GetJob", {"Job": job_view(job, request.app[CONFIG])})


@routes.delete(f"{VERSION}/jobs/{{id}}")
async def cancel_job(request: web.Request) -> web.Response:
    request.app[RUNNER].cancel(request.match_info["id"])
    return web.json_response({}, status=202)


@routes.get(f"{VERSION}/jobs")
async def list_jobs(request: web.Request) -> web.Response:
    return _jobs(request, "ListJobs")


@routes.get(f"{VERSION}/search")
async def search_jobs(request: web.Request) -> web.Response:
    return _jobs(request, "SearchJobs")


@routes.get(f"{VERSION}/queues")
async def list_queues(request: web.Request) -> web.Response:
    return _json_response("ListQueues", {"Queues": [_queue(request.app)]})


@routes.get(f"{VERSION}/queues/{{name}}")
async def get_queue(request: web.Request) -> web.Response:
    if request.match_info["name"] != "Default":
        raise errors.not_found(f"The queue {request.match_info['name']} does not exist.")
    return _json_response("GetQueue", {"Queue": _queue(request.app)})


@routes.post(f"{VERSION}/endpoints")
async def describe_endpoints(request: web.Request) -> web.Response:
    return _json_response("DescribeEndpoints", {"Endpoints": [{"Url": str(request.url.origin())}]})


def _jobs(request: web.Request, name: str) -> web.Response:
    query = _query(request, operation(name).input_shape)
    input_file = query.get("InputFile")
    if len(input_file or "") > INPUT_FILE_LIMIT:
        raise errors.bad_request(f"/inputFile: Should be less than or equal to {INPUT_FILE_LIMIT} characters")
    config = request.app[CONFIG]
    if query.get("Queue") not in {None, "Default", config.queue_arn}:
        raise errors.not_found(f"The queue {query['Queue']} does not exist.")
    wanted = Filter(
        status=query.get("Status"),
        input_file=input_file,
        ascending=query.get("Order") == "ASCENDING",
        limit=query.get("MaxResults", PAGE),
        next_token=query.get("NextToken"),
    )
    page = request.app[STORE].page(wanted)
    return _json_response(name, {"Jobs": [job_view(job, config) for job in page.jobs], "NextToken": page.next_token})


def _query(request: web.Request, shape: Shape | None) -> dict[str, Any]:
    """Read the query string with boto's names and types. Raises RefusedError for values outside the model."""
    found: dict[str, Any] = {}
    for name, member in getattr(shape, "members", {}).items():
        text = request.query.get(wire_name(name, member))
        if text is not None:
            found[name] = int(text) if member.type_name == "integer" and text.lstrip("-").isdigit() else text
    if refused := violations(shape, found):
        raise errors.bad_request(" | ".join(refused))
    return found


def _parse_job_request(body: Any) -> JobRequest:
    """Check and parse a CreateJob body. Raises RefusedError that names all faults in one message."""
    shape = operation("CreateJob").input_shape
    if refused := violations(shape, body, wire=True):
        raise errors.bad_request(" | ".join(refused))
    requested = JobRequest.model_validate(from_wire(shape, body))
    if refused := problems(requested):
        raise errors.bad_request(" | ".join(refused))
    return requested


def _queue(app: web.Application) -> dict[str, Any]:
    return {
        "Arn": app[CONFIG].queue_arn,
        "Name": "Default",
        "PricingPlan": "ON_DEMAND",
        "Status": "ACTIVE",
        "Type": "SYSTEM",
        "ConcurrentJobs": app[CONFIG].concurrency,
        "SubmittedJobsCount": app[STORE].count(Status.SUBMITTED),
        "ProgressingJobsCount": app[STORE].count(Status.PROGRESSING),
    }


def _json_response(name: str, value: Any, status: int = 200) -> web.Response:
    return web.json_response(to_wire(operation(name).output_shape, value), status=status)


@web.middleware
async def _error_writer(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        if request.path != "/health":
            _require_signature(request)
        response: web.StreamResponse = await handler(request)
    except errors.RefusedError as error:
        return web.json_response({"message": str(error)}, status=error.status, headers={"x-amzn-ErrorType": error.kind})
    except web.HTTPNotFound:
        message = f"{request.method} {request.path} is not an operation of this stand-in."
        return web.json_response({"message": message}, status=404, headers={"x-amzn-ErrorType": "NotFoundException"})
    return response


def _require_signature(request: web.Request) -> None:
    """Refuse requests without a signature, so that a page in a browser cannot start jobs. It is not verified."""
    scope = "/mediaconvert/aws4_request"
    authorization = request.headers.get("Authorization", "")
    if not authorization.startswith("AWS4-HMAC-SHA256 ") or scope not in authorization:
        raise errors.forbidden("Missing Authentication Token")
