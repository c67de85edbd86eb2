"""Alerts while processes die again and again: each short life begins its gauges anew, and takes them with it."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped] # ships no types

DEPLOYED = Path(__file__).parents[3] / "deploy" / "prometheus"
RULES = [str(DEPLOYED / name) for name in yaml.safe_load((DEPLOYED / "prometheus.yaml").read_text())["rule_files"]]
SCRAPE = 15
"""Seconds between two looks, as deploy/prometheus/prometheus.yaml has it."""
SCRAPES = 90 * 60 // SCRAPE
HELD = {
    'media_backlog_messages{queue="images"': "500",
    'media_dlq_messages{queue="images"': "1",
    'media_circuit_open{dependency="clamd"': "1",
    "media_scanner_database_age_seconds{": "400000",
    "media_outbox_pending{": "3",
    "media_oldest_unfinished_asset_seconds{": "30000",
    'media_poll_consecutive_errors{queue="images"': "9",
}
"""Gauges that say that something is wrong, each without its closing brace."""
SILENCED = {
    "MediaStandstill",
    "MediaDeadLetters",
    "MediaDependencyDown",
    "MediaScannerDatabaseOld",
    "MediaOutboxStuck",
    "MediaAssetStuck",
    "MediaPollStuck",
}

type Series = dict[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Lives:
    """How the processes of one target live: scrapes that are answered, then scrapes that are not, and so on."""

    spans: tuple[tuple[int, int], ...]
    first: int = 0
    """Scrapes before the first life, in which the target is unknown."""

    def values(self, alive: str, dead: str, *, newborn: str | None = None) -> list[str]:
        """A metric over all lives; `newborn` is what it says at a life's first scrape."""
        found = ["_"] * self.first
        for up, down in self.spans:
            found += [newborn or alive, *[alive] * (up - 1)][:up] + [dead] * down
        return found[:SCRAPES]

    def starts(self) -> list[str]:
        """Of each life, the second in which it began."""
        found = ["_"] * self.first
        for up, down in self.spans:
            found += [str(len(found) * SCRAPE + 1)] * up + ["stale"] * down
        return found[:SCRAPES]


def again_and_again(up: int, down: int) -> Lives:
    """Lives of so many seconds, with so many between two."""
    return Lives(((up // SCRAPE, down // SCRAPE),) * SCRAPES)


def at_new_addresses(up: int, down: int) -> Iterator[Lives]:
    """The same, where each process has an address of its own, which vanishes with it."""
    for first in range(0, SCRAPES, (up + down) // SCRAPE):
        yield Lives(((up // SCRAPE, SCRAPES),), first)


ALWAYS = Lives(((SCRAPES, 0),))


def once(at: int, down: int) -> Lives:
    """Replaced once, at a scrape, and not seen for some."""
    return Lives(((at, down), (SCRAPES, 0)))


def kept(*targets: Lives, job: str = "media-consumer") -> Series:
    """Targets that keep their address: while one does not answer its `up` is 0."""
    found: Series = {}
    for number, lives in enumerate(targets):
        labels = f'job="{job}",instance="{number}"'
        found[f"up{{{labels}}}"] = lives.values("1", "0")
        found[f"process_start_time_seconds{{{labels}}}"] = lives.starts()
    return found


def discovered(*targets: Lives, job: str = "media-consumer") -> Series:
    """Targets that service discovery knows for as long as they live."""
    found = kept(*targets, job=job)
    for number, lives in enumerate(targets):
        found[f'up{{job="{job}",instance="{number}"}}'] = lives.values("1", "stale")
    return found


def gauges(lives: Lives) -> Series:
    """What is wrong, as each life tells it: at first nothing is known of queues, and all else stands at 0."""
    found: Series = {}
    for name, value in HELD.items():
        separator, newborn = ("", "0") if name.endswith("{") else (",", "stale" if "queue" in name else "0")
        labels = f'{separator}job="media-consumer",instance="0"}}'
        found[name + labels] = lives.values(value, "stale", newborn=newborn)
    return found


def firing(folder: Path, series: Series, minutes: int = 45) -> set[str]:
    """The alerts that fire within so many minutes, in which what the series do not speak of is well."""
    there = {name.partition('"')[2].partition('"')[0] for name in series if name.startswith("up{")}
    series = {**{f'up{{job="{job}"}}': ["1"] * SCRAPES for job in {"media-api", "media-consumer"} - there}, **series}
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install --no-install-recommends prometheus")
    given = [{"series": name, "values": " ".join(values)} for name, values in series.items()]
    fired = 'count by (alertname) (max_over_time(ALERTS{alertstate="firing"}[90m]))'
    asked = [{"expr": fired, "eval_time": f"{minutes * 60 - SCRAPE}s", "exp_samples": [{"labels": "{}", "value": 0}]}]
    case = {"name": "lives", "interval": f"{SCRAPE}s", "input_series": given, "promql_expr_test": asked}
    path = folder / "case.yaml"
    path.write_text(
        yaml.safe_dump({"rule_files": RULES, "evaluation_interval": f"{SCRAPE}s", "tests": [case]}, width=10**6)
    )
    # It always fails: what it says is what there is instead of the sample that was asked for.
    ended = subprocess.run([promtool, "test", "rules", path], check=False, timeout=60, capture_output=True, text=True)
    said = ended.stdout + ended.stderr
    assert "exp:" in said, said
    got = said.partition("got:")[2]
    return {part.partition('"')[0] for part in got.split('alertname="')[1:]}


def test_a_consumer_that_is_there_half_of_the_time_is_told_of(tmp_path: Path) -> None:
    """30 s up, 30 s down, and 500 messages wait."""
    lives = again_and_again(30, 30)
    backlog: Series = {'media_backlog_messages{queue="images",instance="0"}': lives.values("500", "stale")}
    assert firing(tmp_path, kept(lives) | backlog) == {"MediaConsumerDown", "MediaRestarts", "MediaStandstill"}


def test_so_is_one_whose_every_process_has_an_address_of_its_own(tmp_path: Path) -> None:
    fired = firing(tmp_path, discovered(*at_new_addresses(30, 30)))
    assert fired == {"MediaConsumerDown", "MediaRestarts"}


@pytest.mark.parametrize("targets", [kept(again_and_again(285, 15)), discovered(*at_new_addresses(285, 15))])
def test_a_restart_every_five_minutes_waits_for_the_morning(tmp_path: Path, targets: Series) -> None:
    assert firing(tmp_path, targets) == {"MediaRestarts"}


def test_an_api_is_watched_like_a_consumer(tmp_path: Path) -> None:
    targets = kept(ALWAYS) | kept(again_and_again(30, 30), job="media-api")
    assert firing(tmp_path, targets) == {"MediaApiDown", "MediaRestarts"}


def test_one_of_several_that_restarts_is_told_of_and_wakes_nobody(tmp_path: Path) -> None:
    assert firing(tmp_path, kept(ALWAYS, ALWAYS, again_and_again(30, 30))) == {"MediaRestarts"}


DEPLOYMENTS = {
    "of the only one, at its address": kept(once(60, 3)),
    "one after the other, at their addresses": kept(once(60, 3), once(64, 3), once(68, 3)),
    "at new addresses": discovered(
        *(Lives(((40 + 4 * number, SCRAPES),)) for number in range(6)),
        *(Lives(((SCRAPES, 0),), 38 + 4 * number) for number in range(6)),
    ),
    "with a fleet that grows and shrinks": discovered(
        ALWAYS, *(Lives(((44, SCRAPES),), 20 + number) for number in range(20))
    ),
}


@pytest.mark.parametrize("targets", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_a_deployment_is_no_alert(tmp_path: Path, targets: Series) -> None:
    assert firing(tmp_path, targets) == set()


def test_half_of_the_scrapes_unanswered_is_told_of_where_nobody_else_answers(tmp_path: Path) -> None:
    half: Series = {'up{job="media-consumer",instance="0"}': ["1", "0"] * (SCRAPES // 2)}
    other: Series = {'up{job="media-consumer",instance="1"}': ["1"] * SCRAPES}
    assert firing(tmp_path, half) == {"MediaConsumerDown"}
    assert firing(tmp_path, half | other) == set()


@pytest.mark.parametrize("lives", [ALWAYS, again_and_again(285, 15), again_and_again(150, 30)])
def test_no_alert_is_silenced_by_a_restart(tmp_path: Path, lives: Lives) -> None:
    assert firing(tmp_path, kept(lives) | gauges(lives), 90) >= SILENCED
