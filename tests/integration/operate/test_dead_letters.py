"""`python -m consumer.cli dlq` lists, moves and deletes dead letters. No message is lost, however it ends."""

import asyncio
import json
import signal
from typing import Any
from uuid import uuid4

import pytest

from api.schemas.ops import DeadLettersOut
from consumer.cli.__main__ import main
from media.asset import AssetType, DeliveryClass, upload_key
from media.asset_store.assets import AssetStore, NewAsset
from media.asset_store.database import connect
from media.contracts import ImageRequested
from media.dead_letters import browser
from tests.integration.operate.conftest import OperatorConsole

CLI = ("consumer.cli", "dlq")


def numbered(count: int) -> list[str]:
    return [json.dumps({"n": n}) for n in range(count)]


async def test_list_groups_by_reason_and_leaves_messages_visible(console: OperatorConsole) -> None:
    for body in numbered(12):
        await console.add_dead_letter("images", body, reason=f"asset {uuid4()} broke")
    await console.add_dead_letter("images", "{}", error="undecodable", reason="not JSON")
    for _ in range(2):  # the first command must not hide the messages from the second
        ended = await console.dlq("list", "images")
        assert ended.status == 0, ended.err
        lines = ended.out.splitlines()
        assert lines[0] == "images-dlq: 13 messages"
        assert lines[2].split()[0] == "12"
        assert lines[2].endswith("attempts_exhausted    asset … broke")
        assert lines[3].split()[0] == "1"
        assert "undecodable" in lines[3]


async def test_show_tells_the_asset_and_its_timeline(console: OperatorConsole) -> None:
    asset_id = uuid4()
    key = upload_key(AssetType.IMAGE, "dr-house", asset_id, "x.jpg")
    async with connect(console.dsn) as database:
        store = AssetStore(database)
        new = NewAsset(
            asset_id, "dr-house", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", "bucket", key
        )
        await store.create(new)
        await store.note(asset_id, "retry", "the decoder died")
    request = ImageRequested(asset_id=asset_id, bucket="bucket", key=key)
    await console.add_dead_letter("images", request.model_dump_json(), reason="the decoder died")
    await console.add_dead_letter("images", "not JSON at all", error="undecodable")
    ended = await console.dlq("show", "images-dlq")
    assert ended.status == 0, ended.err
    assert f"{asset_id}  image, pending" in ended.out
    assert "retry            the decoder died" in ended.out
    assert "body    not JSON at all" in ended.out


async def listed(console: OperatorConsole, *arguments: str) -> list[Any]:
    """Run a command with `--json`; returns its objects, one of each line."""
    ended = await console.dlq(*arguments, "--json")
    assert ended.status == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


async def test_json_counts_by_reason_in_the_fields_of_the_api(console: OperatorConsole) -> None:
    asset_id = uuid4()
    await console.add_dead_letter("images", json.dumps({"asset_id": str(asset_id)}), reason=f"asset {asset_id} broke")
    await console.add_dead_letter("images", "{}", reason=f"asset {uuid4()} broke")
    await console.add_dead_letter("images", "not JSON", error="undecodable")
    [found] = await listed(console, "list", "images")
    group, nameless = found.pop("dead_by_reason")
    assert found == {"queue": "images", "finished": True, "found": 3}
    assert set(group) == set(nameless) == set(DeadLettersOut.model_fields)
    assert (group["example_asset_id"], nameless["example_asset_id"]) == (str(asset_id), None)
    assert (group["code"], group["reason"], group["count"]) == ("attempts_exhausted", "asset … broke", 2)
    assert DeadLettersOut.model_validate(group).oldest_at.tzinfo is not None


async def test_json_shows_each_with_its_assets_and_the_whole_body(console: OperatorConsole) -> None:
    asset_id = uuid4()
    key = upload_key(AssetType.IMAGE, "dr-house", asset_id, "x.jpg")
    async with connect(console.dsn) as database:
        store = AssetStore(database)
        new = NewAsset(
            asset_id, "dr-house", AssetType.IMAGE, DeliveryClass.PUBLIC, "image/jpeg", "x.jpg", "bucket", key
        )
        await store.create(new)
        await store.note(asset_id, "retry", "the decoder died")
    body = ImageRequested(asset_id=asset_id, bucket="bucket", key=key).model_dump_json()
    await console.add_dead_letter("images", body, reason="the decoder\ndied")
    await console.add_dead_letter("images", "x" * 5000, error="undecodable")
    known, unknown = sorted(await listed(console, "show", "images"), key=lambda shown: len(shown["body"]))
    assert (known["reason"], known["owner_id"], known["body"]) == ("the decoder\ndied", "dr-house", body)
    [asset] = known["assets"]
    assert (asset["asset_id"], asset["status"]) == (str(asset_id), "pending")
    assert asset["timeline"][-1]["detail"] == "the decoder died"
    assert (unknown["code"], len(unknown["body"]), unknown["assets"]) == ("undecodable", 5000, [])


async def test_json_says_what_was_moved_and_deleted(console: OperatorConsole) -> None:
    for body in numbered(3):
        await console.add_dead_letter("images", body)
    await console.add_dead_letter("images", "{}", error="undecodable")
    [meant] = await listed(console, "redrive", "images", "--reason", "it broke", "--dry-run")
    assert (meant["found"], meant["finished"]) == (4, True)
    purged = await listed(console, "purge", "images", "--reason", "undecodable")
    assert [(one["deleted"], one["dead_by_reason"][0]["count"]) for one in purged] == [(1, 1)]
    process = await console.start(*CLI, "redrive", "images", "--json")
    out, err = await process.communicate()
    assert json.loads(out) == {"queue": "images", "finished": True, "moved": 3}, err


async def test_redrive_moves_all_with_body_tenant_and_attributes(console: OperatorConsole) -> None:
    for body in numbered(25):
        await console.add_dead_letter("images", body)
    ended = await console.dlq("redrive", "images")
    assert ended.status == 0, ended.err
    assert "images-dlq: 25 moved to images" in ended.out
    received = await console.queues["images"].receive(limit=1, wait=0, visibility=0)
    assert received[0].group_id == "dr-house"
    assert received[0].attributes["error"]["StringValue"] == "attempts_exhausted"
    assert sorted(await console.bodies(console.queues["images"].url)) == sorted(numbered(25))
    assert await console.bodies(console.queues.dead_letters("images").url) == []


@pytest.mark.parametrize("command", ["list", "show"])
async def test_control_characters_of_a_message_are_escaped(console: OperatorConsole, command: str) -> None:
    await console.add_dead_letter("images", '{"a":\r"\u202e"}', error="undecodable", reason="said \x9b31m\tand\nmore")
    ended = await console.dlq(command, "images")
    assert ended.status == 0, ended.err
    assert r"said \x9b31m\tand\nmore" in ended.out
    assert all(line.isprintable() for line in ended.out.splitlines())
    assert command == "list" or r'{"a":\r"\u202e"}' in ended.out


@pytest.mark.parametrize("command", ["list", "show", "redrive", "purge"])
async def test_truncated_reading_is_reported(
    console: OperatorConsole, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(browser, "LIMIT", 10)
    for body in numbered(25):
        await console.add_dead_letter("images", body)
    ended = await console.dlq(command, "images", "--reason", "another")
    assert ended.status == 1
    assert "messages were looked at, and more may match" in ended.err
    assert len(await console.bodies(console.queues.dead_letters("images").url)) == 25


async def test_redrive_moves_only_selected_messages(console: OperatorConsole) -> None:
    await console.add_dead_letter("images", '"old reason"', error="storage_error", reason="S3 said 503 SlowDown")
    await console.add_dead_letter("images", '"other"', error="unforeseen", reason="KeyError")
    assert (await console.dlq("redrive", "images", "--older-than", "1h")).out.startswith("images-dlq: 0 moved")
    dry = await console.dlq("redrive", "images", "--reason", "SlowDown", "--dry-run")
    assert dry.out.startswith("images-dlq: 1 message\n")
    assert await console.bodies(console.queues["images"].url) == []
    moved = await console.dlq("redrive", "images", "--reason", "storage_error")
    assert "1 moved" in moved.out
    assert await console.bodies(console.queues["images"].url) == ['"old reason"']
    assert await console.bodies(console.queues.dead_letters("images").url) == ['"other"']


async def test_rate_is_kept(console: OperatorConsole) -> None:
    for body in numbered(6):
        await console.add_dead_letter("images", body)
    began = asyncio.get_running_loop().time()
    await console.dlq("redrive", "images", "--rate", "5")
    assert asyncio.get_running_loop().time() - began >= 6 / 5


async def test_purge_deletes_selected_messages_and_dry_run_nothing(console: OperatorConsole) -> None:
    for body in numbered(12):
        await console.add_dead_letter("uploads", body, error="undecodable", reason="nonsense")
    await console.add_dead_letter("uploads", '"keep"')
    dry = await console.dlq("purge", "uploads", "--reason", "nonsense", "--dry-run")
    assert dry.out.startswith("uploads-dlq: 12 messages")
    ended = await console.dlq("purge", "uploads", "--reason", "nonsense")
    assert "uploads-dlq: 12 deleted" in ended.out
    assert await console.bodies(console.queues.dead_letters("uploads").url) == ['"keep"']


async def _until_some_moved(console: OperatorConsole) -> None:
    async with asyncio.timeout(90):
        while (await console.queues["images"].depth()).visible < 5:
            pass  # each look is a request: the loop waits by itself


async def test_killed_redrive_loses_no_message(console: OperatorConsole) -> None:
    for body in numbered(60):
        await console.add_dead_letter("images", body)
    process = await console.start(*CLI, "redrive", "images", "--rate", "5")
    await _until_some_moved(console)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    moved = await console.bodies(console.queues["images"].url)
    # Messages that it held are still hidden for a while.
    left = await console.queues.dead_letters("images").depth()
    assert len(set(moved)) + left.visible + left.in_flight >= 60


async def test_interrupted_redrive_releases_the_rest_at_once(console: OperatorConsole) -> None:
    for body in numbered(60):
        await console.add_dead_letter("images", body)
    process = await console.start(*CLI, "redrive", "images", "--rate", "5")
    await _until_some_moved(console)
    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()
    assert process.returncode == 130
    moved = await console.bodies(console.queues["images"].url)
    assert f"{len(moved)} moved" in out.decode()
    left = await console.bodies(console.queues.dead_letters("images").url)
    assert sorted([*moved, *left]) == sorted(numbered(60))


async def test_wrong_usage_and_missing_configuration_are_reported(
    console: OperatorConsole, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["list", "nonsense"], ["redrive", "images", "--older-than", "soon"], ["purge"]):
        with pytest.raises(SystemExit) as ended:
            await console.dlq(*arguments)
        assert ended.value.code == 2
    monkeypatch.setenv("MEDIA_DATABASE_URL", "")
    assert main(["dlq", "list", "images"]) == 2
    assert "MEDIA_DATABASE_URL: missing" in capsys.readouterr().err


async def test_sqs_outage_is_reported(console: OperatorConsole) -> None:
    process = await console.start(*CLI, "list", "images", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    _, err = await process.communicate()
    assert process.returncode == 1
    assert "sqs is unavailable" in err.decode()
