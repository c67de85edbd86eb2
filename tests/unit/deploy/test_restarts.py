"""Alerts while processes restart again and again: gauges start anew with each process and vanish with it."""

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
"""Seconds between two scrapes, as in deploy/prometheus/prometheus.yaml."""
SCRAPES = 90 * 60 // SCRAPE
BAD_GAUGES = {
    'media_backlog_messages{queue="images"': "500",
    'media_dlq_messages{queue="images"': "1",
    'media_circuit_open{dependency="clamd"': "1",
    "media_scanner_database_age_seconds{": "400000",
    "media_outbox_pending{": "3",
    "media_oldest_unfinished_asset_seconds{": "30000",
    'media_poll_consecutive_errors{queue="images"': "9",
}
"""Gauges with values that are wrong, each without its closing brace."""
GAUGE_ALERTS = {
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
    """The lives of one target's processes: pairs of the scrapes with an answer and the scrapes without."""

    spans: tuple[tuple[int, int], ...]
    first: int = 0
    """Scrapes before the first life, in which the target is unknown."""

    def values(self, alive: str, dead: str, *, newborn: str | None = None) -> list[str]:
        """Return a metric over all lives; `newborn` is its value at the first scrape of a life."""
        result = ["_"] * self.first
        for up, down in self.spans:
            result += [newborn or alive, *[alive] * (up - 1)][:up] + [dead] * down
        return result[:SCRAPES]

    def starts(self) -> list[str]:
        """Return the start time of each life, in seconds."""
        result = ["_"] * self.first
        for up, down in self.spans:
            result += [str(len(result) * SCRAPE + 1)] * up + ["stale"] * down
        return result[:SCRAPES]


def restarting(up: int, down: int) -> Lives:
    """Return lives of `up` seconds each, with `down` seconds between two."""
    return Lives(((up // SCRAPE, down // SCRAPE),) * SCRAPES)


def restarting_at_new_addresses(up: int, down: int) -> Iterator[Lives]:
    """Yield the same lives, where each process has its own address, which vanishes with it."""
    for first in range(0, SCRAPES, (up + down) // SCRAPE):
        yield Lives(((up // SCRAPE, SCRAPES),), first)


ALWAYS = Lives(((SCRAPES, 0),))


def replaced_once(at: int, down: int) -> Lives:
    """Return the lives of a process that is replaced once, at scrape `at`, after `down` scrapes without an answer."""
    return Lives(((at, down), (SCRAPES, 0)))


def static_targets(*targets: Lives, job: str = "media-consumer") -> Series:
    """Return the series of targets that keep their address: without an answer their `up` is 0."""
    result: Series = {}
    for number, lives in enumerate(targets):
        labels = f'job="{job}",instance="{number}"'
        result[f"up{{{labels}}}"] = lives.values("1", "0")
        result[f"process_start_time_seconds{{{labels}}}"] = lives.starts()
    return result


def discovered_targets(*targets: Lives, job: str = "media-consumer") -> Series:
    """Return the series of targets that service discovery lists only while they run."""
    result = static_targets(*targets, job=job)
    for number, lives in enumerate(targets):
        result[f'up{{job="{job}",instance="{number}"}}'] = lives.values("1", "stale")
    return result


def gauges(lives: Lives) -> Series:
    """Return the bad gauges over all lives: at first, gauges of queues are missing and others are 0."""
    result: Series = {}
    for name, value in BAD_GAUGES.items():
        separator, newborn = ("", "0") if name.endswith("{") else (",", "stale" if "queue" in name else "0")
        labels = f'{separator}job="media-consumer",instance="0"}}'
        result[name + labels] = lives.values(value, "stale", newborn=newborn)
    return result


def firing(folder: Path, series: Series, minutes: int = 45) -> set[str]:
    """Return the alerts that fire within some minutes, while everything outside the series is healthy."""
    known_jobs = {name.partition('"')[2].partition('"')[0] for name in series if name.startswith("up{")}
    series = {
        **{f'up{{job="{job}"}}': ["1"] * SCRAPES for job in {"media-api", "media-consumer"} - known_jobs},
        **series,
    }
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install --no-install-recommends prometheus")
    given = [{"series": name, "values": " ".join(values)} for name, values in series.items()]
    firing_query = 'count by (alertname) (max_over_time(ALERTS{alertstate="firing"}[90m]))'
    queries = [
        {"expr": firing_query, "eval_time": f"{minutes * 60 - SCRAPE}s", "exp_samples": [{"labels": "{}", "value": 0}]}
    ]
    case = {"name": "lives", "interval": f"{SCRAPE}s", "input_series": given, "promql_expr_test": queries}
    path = folder / "case.yaml"
    path.write_text(
        yaml.safe_dump({"rule_files": RULES, "evaluation_interval": f"{SCRAPE}s", "tests": [case]}, width=10**6)
    )
    # The test always fails, and its output lists the actual samples.
    finished = subprocess.run(
        [promtool, "test", "rules", path], check=False, timeout=60, capture_output=True, text=True
    )
    output = finished.stdout + finished.stderr
    assert "exp:" in output, output
    got = output.partition("got:")[2]
    return {part.partition('"')[0] for part in got.split('alertname="')[1:]}


def test_a_consumer_that_is_up_half_of_the_time_pages(tmp_path: Path) -> None:
    """The consumer is up for 30 s, down for 30 s, and 500 messages wait."""
    lives = restarting(30, 30)
    backlog: Series = {'media_backlog_messages{queue="images",instance="0"}': lives.values("500", "stale")}
    assert firing(tmp_path, static_targets(lives) | backlog) == {
        "MediaConsumerDown",
        "MediaRestarts",
        "MediaStandstill",
    }


def test_a_consumer_with_a_new_address_for_each_process_pages_too(tmp_path: Path) -> None:
    fired = firing(tmp_path, discovered_targets(*restarting_at_new_addresses(30, 30)))
    assert fired == {"MediaConsumerDown", "MediaRestarts"}


@pytest.mark.parametrize(
    "targets", [static_targets(restarting(285, 15)), discovered_targets(*restarting_at_new_addresses(285, 15))]
)
def test_a_restart_every_five_minutes_opens_a_ticket_only(tmp_path: Path, targets: Series) -> None:
    assert firing(tmp_path, targets) == {"MediaRestarts"}


def test_a_restarting_api_pages_like_a_consumer(tmp_path: Path) -> None:
    targets = static_targets(ALWAYS) | static_targets(restarting(30, 30), job="media-api")
    assert firing(tmp_path, targets) == {"MediaApiDown", "MediaRestarts"}


def test_one_restarting_consumer_of_several_opens_a_ticket_only(tmp_path: Path) -> None:
    assert firing(tmp_path, static_targets(ALWAYS, ALWAYS, restarting(30, 30))) == {"MediaRestarts"}


DEPLOYMENTS = {
    "of the only one, at its address": static_targets(replaced_once(60, 3)),
    "one after the other, at their addresses": static_targets(
        replaced_once(60, 3), replaced_once(64, 3), replaced_once(68, 3)
    ),
    "at new addresses": discovered_targets(
        *(Lives(((40 + 4 * number, SCRAPES),)) for number in range(6)),
        *(Lives(((SCRAPES, 0),), 38 + 4 * number) for number in range(6)),
    ),
    "with a fleet that grows and shrinks": discovered_targets(
        ALWAYS, *(Lives(((44, SCRAPES),), 20 + number) for number in range(20))
    ),
}


@pytest.mark.parametrize("targets", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_a_deployment_fires_no_alert(tmp_path: Path, targets: Series) -> None:
    assert firing(tmp_path, targets) == set()


def test_unanswered_scrapes_page_only_if_no_other_consumer_answers(tmp_path: Path) -> None:
    half: Series = {'up{job="media-consumer",instance="0"}': ["1", "0"] * (SCRAPES // 2)}
    other: Series = {'up{job="media-consumer",instance="1"}': ["1"] * SCRAPES}
    assert firing(tmp_path, half) == {"MediaConsumerDown"}
    assert firing(tmp_path, half | other) == set()


@pytest.mark.parametrize("lives", [ALWAYS, restarting(285, 15), restarting(150, 30)])
def test_no_alert_is_silenced_by_a_restart(tmp_path: Path, lives: Lives) -> None:
    assert firing(tmp_path, static_targets(lives) | gauges(lives), 90) >= GAUGE_ALERTS
