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
    "AcceptedOut AssetOut AssetType CompleteRequest ConfirmRequest ConsumerOut DeadLetterGroup DeadLettersOut"
    " Delivery DocumentInfoOut EventsQuery FieldErrorOut FindingOut HealthOut ImageCallback Listing ListingQuery"
    " MultipartOut"
    " MultipartRequest NoteOut OpsSummary PartLink PartLinks PartNamed PartsRequest PlaylistQuery ProblemOut QueueOut"
    " RedriveOut RedriveRequest RenditionOut ReportOut Status StoredPartOut StuckOut TicketOut Timeline"
    " TimelineEntryOut TranscodeProgress UnfinishedOut UploadRequest UploadSlot UrlOut UrlQuery VariantReportOut"
)


def test_component_names_stay_because_generated_clients_use_them() -> None:
    schemas = document()["components"]["schemas"]
    assert sorted(schemas) == COMPONENTS.split()
    assert all(schema["title"] == name for name, schema in schemas.items())


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
