"""The OpenAPI document matches the code, and both of its forms are readable."""

import json
from html.parser import HTMLParser

from aiohttp.test_utils import make_mocked_request
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.openapi import document
from api.problems import KINDS, ProblemCode
from api.routes import ROUTES
from api.routing import ALWAYS
from api.views.docs import Docs


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(document()).validate()


COMPONENTS = (
    "AcceptedOut AssetEvent AssetOut AssetPatch AssetType CompleteRequest ConfirmRequest ConsumerOut DeadLetterGroup"
    " DeadLetterListing DeadLetterOut DeadLettersOut Delivery DiscardOut DiscardRequest DocumentInfoOut FieldErrorOut"
    " FindingOut HealthOut ImageCallback Listing MultipartOut MultipartRequest NoteOut OpsSummary PartLink PartLinks"
    " PartNamed PartsRequest ProblemOut QueueOut RedriveOut RedriveRequest RenditionOut ReportOut ResetEvent Status"
    " StoredPartOut StreamEvent StuckOut TicketOut Timeline TimelineEntryOut TranscodeProgress UnfinishedOut"
    " UploadLimitOut UploadLimits UploadRequest UploadSlot UrlAsked UrlMade UrlOut UrlProblem UrlRefused UrlsOut"
    " UrlsRequest VariantReportOut"
)


def test_component_names_stay_because_generated_clients_use_them() -> None:
    schemas = document()["components"]["schemas"]
    assert sorted(schemas) == COMPONENTS.split()
    assert all(schema["title"] == name for name, schema in schemas.items())


def test_no_field_has_null_as_its_default_and_no_model_is_unused() -> None:
    described = document()
    models = described["components"]["schemas"]
    fields = [
        (model, name, field) for model, known in models.items() for name, field in known.get("properties", {}).items()
    ]
    assert [(model, name) for model, name, field in fields if field.get("default", "") is None] == []
    assert "delivery" not in models["UploadRequest"]["required"]
    assert "webinar_id" in models["AssetOut"]["required"], "an answer has all its fields"
    text = json.dumps(described)
    assert [name for name in models if f'"#/components/schemas/{name}"' not in text] == []


def test_what_generated_clients_stumble_over_is_left_out() -> None:
    operations = [operation for path in document()["paths"].values() for operation in path.values()]
    bodies = [operation["requestBody"]["content"] for operation in operations if "requestBody" in operation]
    assert all(list(content) == ["application/json"] for content in bodies), "a second type makes code that fails"
    parameters = [parameter["schema"] for operation in operations for parameter in operation["parameters"]]
    assert not [schema for schema in parameters if {"type": "null"} in schema.get("anyOf", ())]


def test_open_endpoints_streams_types_and_headers_are_described() -> None:
    described = document()
    operations = {
        operation["operationId"]: operation for path in described["paths"].values() for operation in path.values()
    }
    assert operations["health"]["security"] == []
    assert operations["show_asset"]["security"] == [{"bearer": []}]
    stream = operations["all_events"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    assert stream["contentSchema"] == {"$ref": "#/components/schemas/StreamEvent"}
    taken = described["components"]["schemas"]["UploadRequest"]["properties"]["content_type"]["enum"]
    assert {"image/jpeg", "image/jpg", "video/mp4", "application/pdf"} <= set(taken)
    assert "Retry-After" in operations["show_asset"]["responses"]["429"]["headers"]
    assert {"ETag", "RateLimit-Remaining", "X-Request-ID"} <= set(
        operations["show_asset"]["responses"]["200"]["headers"]
    )
    assert described["servers"]


def test_every_problem_code_is_in_the_table_and_in_a_route() -> None:
    assert set(KINDS) == set(ProblemCode)
    raised = {code for route in ROUTES for code in route.problems} | set(ALWAYS)
    anywhere = {ProblemCode.METHOD_NOT_ALLOWED, ProblemCode.ORIGIN_NOT_ALLOWED}
    assert set(ProblemCode) == raised | anywhere


def test_every_operation_has_a_summary_and_a_unique_id() -> None:
    operations = [operation for path in document()["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(ROUTES)
    assert all(operation["summary"] for operation in operations)


async def test_docs_page_has_no_script_and_no_external_link() -> None:
    request = make_mocked_request("GET", "/docs")
    page = (await Docs().human(request)).text or ""
    links: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag != "script"
            links.extend(value or "" for name, value in attrs if name in {"src", "href"})

    Links().feed(page)
    assert all(link.startswith(("#", "/", "data:")) for link in links)
    assert json.loads((await Docs().machine(request)).text or "") == document()
