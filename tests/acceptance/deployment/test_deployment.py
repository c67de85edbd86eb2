"""What the README's commands start is what works: uploads, films, recordings, EICAR, HLS behind https, a drain."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.child import PartError
from deploy.local.ports import HOST
from deploy.local.rehearsal.account import RECORDINGS_BUCKET
from deploy.local.rehearsal.deployment import API, CONSUMER, IMAGES, Deployment
from deploy.local.rehearsal.stand_ins import ADDED, REPLACED, changes
from deploy.local.rehearsal.templates import PARTS
from media.contracts import WebinarRecording
from tests.acceptance.browser.conftest import TIMEOUT_MS, started_chromium
from tests.acceptance.conftest import ROOT
from tests.acceptance.deployment.conftest import FLEET, LINES, OWNER, RECORDING, Processed, client, upload, wait_for_end
from tests.acceptance.deployment.large_recording import SIZE, VERSION

pytestmark = pytest.mark.timeout(300)
HLS_SCRIPT = ROOT / "api" / "static" / "vendor" / "hls.min.js"
FRONT_END = "<!doctype html><meta charset=utf-8><script src=/hls.js></script><video muted></video>"
LOOPBACK_FOR_ALL = "--disable-features=LocalNetworkAccessChecks"
"""Lets a page with a public name reach loopback, where a rehearsal has what else is public too."""
PLAY = """async (url) => {
    const video = document.querySelector('video');
    const hls = new Hls();
    const failed = new Promise((_, reject) => {
        hls.on(Hls.Events.ERROR, (_, data) => data.fatal && reject(data.details));
    });
    hls.loadSource(url);
    hls.attachMedia(video);
    const played = new Promise((resolve) => {
        video.addEventListener('timeupdate', () => video.currentTime > 0.4 && resolve());
    });
    await Promise.race([failed, Promise.all([video.play(), played])]);
    return [isSecureContext, video.videoHeight];
}"""


async def test_a_fixed_fleet_runs_as_many_tasks_as_it_says(deployment: Deployment) -> None:
    wanted = {name: service.desired_count for name, (service, _) in (await deployment.services()).items()}
    assert wanted == {API: 2, CONSUMER: FLEET}
    assert {name: len(tasks) for name, tasks in deployment.tasks.items()} == wanted


async def test_photo_film_and_eicar_end_as_they_should(deployment: Deployment, processed: Processed) -> None:
    picture, film, virus = processed.picture, processed.film, processed.virus
    assert (picture.status, film.status, virus.status) == ("ready", "ready", "rejected")
    assert virus.code == "infected"
    assert {"hls", "mp4", "poster"} <= {one.name for one in film.renditions}
    async with deployment.http() as http:
        url = await client(deployment, http, OWNER).url(picture.asset_id, "w320")
        async with http.get(url) as answer:
            assert (answer.status, answer.content_type) == (200, "image/webp")


async def test_the_scanner_has_the_set_that_the_mirror_published(deployment: Deployment) -> None:
    assert deployment.scanner
    lines = [json.loads(line) for line in deployment.scanner.log.read_text().splitlines()]
    [adopted] = [line for line in lines if line["event"] == "signatures.adopted"]
    assert adopted["source"] == "bucket"


async def test_files_are_handed_to_the_scanner_by_descriptor(deployment: Deployment, processed: Processed) -> None:
    assert processed.picture.status == "ready"
    consumers = [task.child.log.read_text() for task in deployment.tasks[CONSUMER]]
    found = [json.loads(line) for log in consumers for line in log.splitlines() if "clamd.descriptors" in line]
    largest = (await deployment.services())[CONSUMER][1].container_definitions[0].environment["MEDIA_SCAN_MAX_BYTES"]
    assert {line["largest"] for line in found} == {int(largest)}


async def test_a_recording_of_2500_mb_is_reencoded(deployment: Deployment) -> None:
    message = WebinarRecording(
        recording_id="large",
        webinar_id="webinar",
        host_id="host",
        bucket=RECORDINGS_BUCKET,
        key=RECORDING,
        version_id=VERSION,
        title="2.5 GB",
        recorded_at=datetime.now(UTC),
        content_type="video/mp4",
    )
    queue = (
        (await deployment.services())[CONSUMER][1].container_definitions[0].environment["MEDIA_RECORDINGS_QUEUE_URL"]
    )
    await (await deployment.account.client("sqs")).send_message(QueueUrl=queue, MessageBody=message.model_dump_json())
    async with deployment.http() as http:
        api = client(deployment, http, "host")
        async with asyncio.timeout(60):
            while not (found := await api.assets()):  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.2)
        asset = await wait_for_end(api, found[0].asset_id)
    assert (asset.status, asset.duration_ms) == ("ready", 4000), asset
    assert SIZE > 2 * 1024**3


async def test_hls_plays_in_chromium_on_a_page_with_https(deployment: Deployment, processed: Processed) -> None:
    async with deployment.http() as http:
        playlist = await client(deployment, http, OWNER).url(processed.film.asset_id, "hls")
    assert playlist.startswith(f"{deployment.public_url}/")
    origin = deployment.parameters["CorsOrigins"]
    rule = f"MAP {deployment.host}:443 {HOST}:{deployment.port}"
    async with started_chromium(f"--host-resolver-rules={rule}", LOOPBACK_FOR_ALL) as browser:
        page = await browser.new_page(ignore_https_errors=True)  # the rehearsal's own authority signed
        page.set_default_timeout(TIMEOUT_MS)
        await page.route(f"{origin}/hls.js", lambda route: route.fulfill(path=HLS_SCRIPT))
        await page.route(f"{origin}/", lambda route: route.fulfill(body=FRONT_END, content_type="text/html"))
        await page.goto(f"{origin}/")
        is_secure, height = await page.evaluate(PLAY, playlist)
    assert is_secure
    assert height > 0


async def test_load_balancer_hides_what_is_internal(deployment: Deployment) -> None:
    async with deployment.http() as http:
        for path in ("metrics", "livez", "readyz"):
            async with http.get(f"{deployment.public_url}/{path}") as answer:
                assert answer.status == 404, path


async def test_tasks_have_the_environment_of_their_definition(deployment: Deployment) -> None:
    """Whatever differs is one of the changes that `./run.sh rehearse` prints."""
    for tasks in deployment.tasks.values():
        task = tasks[0]
        container = next(each for each in task.definition.container_definitions if each.essential)
        given = dict(task.child.program.env)
        for name, value in container.environment.items():
            assert name in REPLACED or given[name] == value, name
        own = given.keys() - container.environment.keys() - container.secrets.keys()
        image = {"PATH", *deployment.runner.images[container.image].variables}
        assert own <= {*ADDED, *REPLACED, *image, *LINES}
        assert ADDED.keys() <= own
    assert {f"variable {name}" for name in {*ADDED, *REPLACED}} <= changes().keys()


async def test_a_task_without_a_setting_that_it_needs_does_not_start(deployment: Deployment) -> None:
    async def start_without(service: str, missing: str) -> None:
        definition = deployment.tasks[service][0].definition
        containers = [
            each.model_copy(update={"environment": {k: v for k, v in each.environment.items() if k != missing}})
            for each in definition.container_definitions
        ]
        lacking = definition.model_copy(update={"container_definitions": containers})
        with pytest.raises(PartError, match=missing):
            await deployment.runner.start(lacking, IMAGES["ServiceImage"])

    needed = [
        (CONSUMER, "OUTPUT_BUCKET"),
        (CONSUMER, "MEDIA_RECORDINGS_QUEUE_URL"),
        (API, "MEDIA_JWT_JWKS_URL"),
        (CONSUMER, "MEDIACONVERT_ROLE_ARN"),
        (API, "MEDIA_PUBLIC_URL"),
    ]
    await asyncio.gather(*(start_without(service, missing) for service, missing in needed))


async def test_a_task_has_the_lines_of_its_settings_file(deployment: Deployment) -> None:
    given = deployment.tasks[CONSUMER][0].child.program.env
    assert given["MEDIA_RETRY_CAP"] == LINES["MEDIA_RETRY_CAP"]
    assert given["MEDIA_CONCURRENCY"] == deployment.parameters.get("Concurrency", "10"), "a parameter wins"


async def test_a_drained_consumer_loses_no_work(deployment: Deployment, clip: Path) -> None:
    async with deployment.http() as http:
        api = client(deployment, http, "patient")
        films = [await upload(api, clip) for _ in range(2)]
        stopped = deployment.tasks[CONSUMER].pop()
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(deployment.stop(stopped))
            assets = [await wait_for_end(api, film) for film in films]
    assert stopping.result() == 0
    assert [asset.status for asset in assets] == ["ready", "ready"]


async def test_scaled_fleet_keeps_the_number_that_autoscaling_chose(deployment: Deployment) -> None:
    ecs = await deployment.account.client("ecs")
    cluster = f"{deployment.parameters['Environment']}-media"
    await deployment.update(MaxConsumers="10")
    await ecs.update_service(cluster=cluster, service=CONSUMER, desiredCount=7)
    output = await deployment.update(Concurrency="11")
    service, definition = (await deployment.services())[CONSUMER]
    assert service.desired_count == 7
    main = next(each for each in definition.container_definitions if each.name == CONSUMER)
    assert main.environment["MEDIA_CONCURRENCY"] == "11"
    assert output.count("No changes to deploy") == len(PARTS) - 1
