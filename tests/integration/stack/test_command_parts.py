"""The building blocks of the command line: ports, the state folder, announcements, child processes."""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from deploy.local import child, ports, postgres, services
from deploy.local import state as state_module
from deploy.local.announcement import announce
from deploy.local.child import Child, PartError, Program
from deploy.local.emulator import SAVED_MARK
from deploy.local.ports import HOST, PortError, free_port
from deploy.local.state import MARKER, ForeignFolderError, LastShutdown, State, StateInUseError
from deploy.local.supervisor import MAX_RESTARTS, Service


def test_two_stacks_have_no_port_in_common() -> None:
    first = ports.choose({"MEDIA_API_PORT": str(free_port())})
    held = [
        socket.create_server((HOST, port))
        for port in (first.consumer, first.emulator, first.mediaconvert, first.postgres)
    ]
    second = ports.choose({"MEDIA_API_PORT": str(first.api)})
    for one in held:
        one.close()
    assert {second.consumer, second.emulator, second.mediaconvert, second.postgres}.isdisjoint(
        {first.api, first.consumer, first.emulator, first.mediaconvert, first.postgres}
    )


@pytest.mark.parametrize("variable", ["MEDIA_API_PORT", "MEDIA_LOCAL_EMULATOR_PORT"])
def test_a_busy_port_that_is_configured_is_refused_by_name(variable: str) -> None:
    with socket.create_server((HOST, 0)) as holder:
        port = str(holder.getsockname()[1])
        with pytest.raises(PortError, match=f"port {port} is busy.*{variable}"):
            ports.choose({"MEDIA_API_PORT": str(free_port()), variable: port})


@pytest.mark.parametrize("value", ["x", "0", "65536", "-1", "٣"])
def test_an_invalid_port_is_refused(value: str) -> None:
    with pytest.raises(PortError, match="MEDIA_API_PORT"):
        ports.choose({"MEDIA_API_PORT": value})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whose a socket is")
async def test_a_port_that_another_program_took_meanwhile_is_noticed(tmp_path: Path) -> None:
    """Two stacks whose ports derive from API ports 1,000 apart may choose the same one, each before it is in use."""
    with socket.create_server((HOST, 0)) as foreign:
        port = foreign.getsockname()[1]
        client = {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{free_port()}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
        late = await child.start(services.mediaconvert_on(tmp_path, port, client, os.environ), tmp_path)
        with pytest.raises(PartError, match=f"cannot listen on {HOST}:{port}"):
            await late.until_ready(lambda: child.is_served(late, HOST, port))
    code = f"import socket, time; held = socket.create_server(('{HOST}', {port})); time.sleep(600)"
    own = await child.start(python(code, tmp_path), tmp_path)
    await own.until_ready(lambda: child.is_served(own, HOST, port))
    await own.stop()


def test_a_state_folder_has_one_owner(tmp_path: Path) -> None:
    with State(tmp_path).held():
        with pytest.raises(StateInUseError), State(tmp_path).held():
            pass
        assert State(tmp_path).is_held()
    assert not State(tmp_path).is_held()


def test_data_is_kept_after_a_clean_stop_or_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path)
    assert state.begin() is LastShutdown.CLEAN, "nothing is there yet"
    (state.emulator / "state").mkdir(parents=True)
    assert state.begin() is LastShutdown.INCOMPLETE, "the emulator saved nothing"
    (state.emulator / SAVED_MARK).touch()
    assert state.begin() is LastShutdown.KILLED
    state.finish()
    assert state.begin() is LastShutdown.CLEAN
    (tmp_path / "boot_id").write_text("of another boot")
    monkeypatch.setattr(state_module, "BOOT_ID", tmp_path / "boot_id")
    assert state.begin() is LastShutdown.INCOMPLETE, "nothing was flushed to the disk"
    state.wipe_data()
    assert not state.emulator.exists()


def test_a_folder_of_a_version_without_a_marker_is_used(tmp_path: Path) -> None:
    State(tmp_path).secrets()
    for name in ("emulator", "logs", "postgres"):
        (tmp_path / name).mkdir()
    with State(tmp_path).held():
        assert (tmp_path / MARKER).is_file()


@pytest.mark.parametrize("name", ["notes.txt", "lock", "postgres"])
def test_a_folder_with_other_files_is_refused(tmp_path: Path, name: str) -> None:
    if name == "notes.txt":
        State(tmp_path).secrets()
    (tmp_path / name).write_text("precious")
    with pytest.raises(ForeignFolderError, match=str(tmp_path)), State(tmp_path).held():
        pass
    assert not (tmp_path / MARKER).exists()
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize(("value", "seconds"), [(" \n", 25), ("\ufeff30\r\n", 30), ("40", 40)])
def test_the_drain_is_read_as_the_services_read_it(tmp_path: Path, value: str, seconds: float) -> None:
    program = services.service("api", State(tmp_path), {"MEDIA_DRAIN_TIMEOUT": value})
    assert program.stop_deadline == seconds + services.DRAIN_MARGIN


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    first = State(tmp_path).secrets()
    assert State(tmp_path).secrets() == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def box(name: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4) + name + content


def movie(*kinds: bytes) -> bytes:
    """Make the index of an MP4 with a track of each kind."""
    tracks = [box(b"trak", box(b"mdia", box(b"hdlr", bytes(8) + kind + bytes(13)))) for kind in kinds]
    return box(b"moov", b"".join(tracks))


@pytest.mark.parametrize(
    ("name", "content", "asked", "expected"),
    [
        ("a.JPG", b"", None, ("image", "image/jpeg")),
        ("a.heic", b"", None, ("image", "image/heic")),
        ("a.mkv", b"", None, ("video", "video/x-matroska")),
        ("a.m4a", b"", None, ("audio", "audio/mp4")),
        ("a.pdf", b"", None, ("document", "application/pdf")),
        ("a.mp4", b"", "audio", ("audio", "audio/mp4")),
        ("a.unheardof", b"\xff\xd8\xff", None, ("image", "image/jpeg")),
        ("a.unheardof", b"words", None, ("document", "application/octet-stream")),
        ("a.mpo", b"\xff\xd8\xff", None, ("image", "image/jpeg")),
        ("a.aiff", b"FORM\0\0\0\x12AIFFCOMM", None, ("audio", "audio/aiff")),
        ("a.caf", b"caff\0\1\0\0desc", None, ("audio", "audio/x-caf")),
        ("a.m4a", b"\x00\x00\x00\x18ftypmp42", None, ("audio", "audio/mp4")),
        ("a.svg", b"<svg xmlns='x'/>", None, ("image", "image/svg+xml")),
        ("a.wav", b"RIFF\0\0\0\0WAVE", None, ("audio", "audio/wav")),
        ("noname", b"\x89PNG\r\n\x1a\n", None, ("image", "image/png")),
        ("noname", b"\x00\x00\x00\x18ftypisom", None, ("video", "video/mp4")),
        ("memo.mov", box(b"mdat", b"vide") + movie(b"soun"), None, ("audio", "audio/mp4")),
        ("memo.3gp", movie(b"soun"), None, ("audio", "audio/3gpp")),
        ("film.mov", movie(b"soun", b"vide"), None, ("video", "video/quicktime")),
        ("film.3gp", movie(b"soun", b"vide"), None, ("video", "video/3gpp")),
        ("film.mov", movie(b"soun"), "video", ("video", "video/quicktime")),
    ],
)
def test_types_are_announced_as_by_a_browser(
    tmp_path: Path, name: str, content: bytes, asked: str | None, expected: tuple[str, str]
) -> None:
    (tmp_path / name).write_bytes(content)
    found = announce(tmp_path / name, asked)
    assert (found.asset_type, found.content_type) == expected


def python(code: str, folder: Path) -> Program:
    return Program("part", [sys.executable, "-c", code], child.base_environment(), folder)


async def test_a_part_that_dies_at_its_start_shows_its_last_log_lines(tmp_path: Path) -> None:
    started = await child.start(python("raise SystemExit('no signatures')", tmp_path), tmp_path)
    with pytest.raises(PartError, match=r"(?s)part ended \(exit status 1\).*no signatures"):
        await started.until_ready(lambda: child.accepts_connections(HOST, free_port()))


async def test_a_part_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    program = Program("part", [sys.executable, "-c", code], child.base_environment(), tmp_path, stop_deadline=0.5)
    started = await child.start(program, tmp_path)

    async def is_up() -> bool:
        return "up" in started.log_tail()

    await started.until_ready(is_up)
    assert not await started.stop()
    assert started.returncode == -9


async def test_children_see_nothing_of_a_developers_aws_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    started = await child.start(python("import os; print(*os.environ)", tmp_path), tmp_path)
    await started.wait()
    assert "PATH" in started.log_tail()
    assert "AWS_PROFILE" not in started.log_tail()


@pytest.mark.parametrize(("status", "starts"), [(1, MAX_RESTARTS + 1), (2, 1)])
async def test_a_service_is_restarted_until_that_is_useless(tmp_path: Path, status: int, starts: int) -> None:
    begun: list[Child] = []

    async def start() -> Child:
        begun.append(await child.start(python(f"raise SystemExit({status})", tmp_path), tmp_path))
        return begun[-1]

    output: list[str] = []
    service = Service("part", start, output.append)
    await service.start()
    assert f"exit status {status}" in await service.keep_running()
    assert len(begun) == starts
    assert len(output) == starts - 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must run postgres as somebody else")
@pytest.mark.parametrize("umask", [0o022, 0o077])
async def test_root_runs_postgres_where_user_namespaces_are_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    monkeypatch.setattr(postgres, "AS_NOBODY", ("false",))
    folder = tmp_path / "postgres"
    before = os.umask(umask)
    try:
        for _ in range(2):  # initdb, then the data that it left
            server = await postgres.start(folder, free_port(), tmp_path, "secret")
            assert await server.child.stop()
            assert server.child.returncode == 0
    finally:
        os.umask(before)
        shutil.rmtree(postgres.outside_folder(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must run postgres as somebody else")
async def test_a_foreign_folder_outside_the_state_folder_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "AS_NOBODY", ("false",))
    folder = tmp_path / "postgres"
    outside = postgres.outside_folder(folder)
    outside.mkdir()
    try:
        (outside / "precious").touch()
        with pytest.raises(PartError, match=str(outside)):
            await postgres.start(folder, free_port(), tmp_path, "secret")
        assert (outside / "precious").exists()
    finally:
        shutil.rmtree(outside)
