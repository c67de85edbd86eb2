"""The published costs are computed from the prices and the measured figures."""

import pytest

from deploy import cost_rules, costs, prices
from handlers.transcode.planning.ladder import LADDER


def costs_with(**given: float) -> prices.Costs:
    figures = {one.name: one.value for one in (*prices.PRICES, *prices.MEASURED)}
    return prices.Costs(figures | given)


def test_page_and_rules_are_up_to_date() -> None:
    assert not costs.outdated(), "run python -m deploy.costs --write"


def test_rules_are_printed_with_given_prices(capsys: pytest.CaptureFixture[str]) -> None:
    assert costs.main(["hd_minute=0.03", "balancer_hour=1.5", "--rules"]) == 0
    said = capsys.readouterr().out
    assert '1.8 * (sum(rate(media_transcoded_seconds_total{engine="mediaconvert",kind="hd"}[1h])) or vector(0))' in said
    assert '3.6 * (sum(rate(media_transcoded_seconds_total{engine="mediaconvert",kind="hd_fast"}[1h]))' in said
    assert "          1.5\n" in said
    assert said != cost_rules.FILE.read_text()


def test_an_image_costs_its_cpu_and_its_requests() -> None:
    one_second = {"render_cpu": 0.5, "consumer_cpu": 0.25, "image_bytes": 25.0, "scan_rate": 100.0}
    no_requests = {"sqs_requests": 0, "s3_writes": 0, "s3_reads": 0}
    plain = costs_with(**one_second, **no_requests, consumer_vcpus=1, consumer_gb=0, vcpu_hour=3600)
    assert plain.images_a_second == pytest.approx(1)
    assert plain.thousand_images()["together"] == pytest.approx(1000)
    asking = costs_with(**one_second, vcpu_hour=0, gb_hour=0, sqs_requests=2, s3_writes=3, s3_reads=4)
    parts = asking.thousand_images()
    assert parts == pytest.approx({"compute": 0, "SQS": 0.001, "S3": 0.0166, "together": 0.0176})


def test_a_video_costs_the_minutes_of_its_outputs() -> None:
    only_sd = costs_with(sd_minute=1, hd_minute=0, s3_write=0, s3_read=0).video_hour()
    only_hd = costs_with(sd_minute=0, hd_minute=1, s3_write=0, s3_read=0).video_hour()
    assert (only_sd["MediaConvert"], only_hd["MediaConvert"]) == (180, 180)
    assert costs_with(sd_minute=0, hd_minute=0, s3_write=1, s3_read=0).video_hour()["S3"] == 600 * len(LADDER)


def test_tables_are_printed_with_given_prices(capsys: pytest.CaptureFixture[str]) -> None:
    assert costs.main(["hd_minute=1000000", "vcpu_hour=0.05"]) == 0
    said = capsys.readouterr().out
    assert "| `hd_minute` | $1000000 |" in said
    assert "| given |" in said


@pytest.mark.parametrize("wrong", ["hd_minute=dear", "hd=1", "hd_minute"])
def test_an_unknown_or_invalid_figure_is_refused(wrong: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        costs.main([wrong])
