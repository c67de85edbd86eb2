"""Settings are read once and checked; one message names everything that is wrong."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from media import settings
from media.setting_rules import each_secret
from media.settings import Settings, SettingsError, load, variable

COMPLETE = {
    "MEDIA_DATABASE_URL": "postgresql+asyncpg://media@db/media",
    "OUTPUT_BUCKET": "media",
    **{f"MEDIA_{name.upper().replace('-', '_')}_QUEUE_URL": f"https://sqs/{name}" for name in settings.QUEUES},
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(settings.variable(name), raising=False)
    return monkeypatch


def complete(environment: pytest.MonkeyPatch, **more: str) -> settings.Settings:
    for name, value in (COMPLETE | more).items():
        environment.setenv(name, value)
    return load(env_file=None)


def test_names_and_forms_of_the_platform_are_understood(environment: pytest.MonkeyPatch) -> None:
    read = complete(environment, MEDIA_QUEUES="uploads, images", MEDIA_CLAMD="unix:///run/clamd.sock")
    assert read.database_url == "postgresql://media@db/media"
    assert read.queues == ("uploads", "images")
    assert read.queue_urls()["transcode-events"] == "https://sqs/transcode-events"


@pytest.mark.usefixtures("environment")
def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        load(env_file=None)
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == sorted(f"{n}: missing" for n in COMPLETE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEDIA_DATABASE_URL", "mysql://db"),
        ("MEDIA_DATABASE_URL", "postgresql://db:fivethousand/media"),
        ("MEDIA_CLAMD", "clamd:3310"),
        ("MEDIA_CLAMD", "unix:///C#/clamd.sock"),
        ("MEDIA_QUEUES", "uploads,mails"),
        ("MEDIA_CONCURRENCY", "0"),
        ("MEDIA_JWT_SECRET", "short"),
        ("MEDIA_UNSCANNABLE_VIDEO", "serve"),
        ("MEDIA_RECEIVE_WAIT", "21"),
    ],
)
def test_a_wrong_value_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        complete(environment, **{name: value})


def test_secrets_do_not_show_in_the_message(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as error:
        complete(environment, MEDIA_JWT_SECRET="hunter2-is-short")
    assert "hunter2" not in str(error.value)


def test_password_of_a_broken_address_does_not_show(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="MEDIA_DATABASE_URL: must be postgresql://user:password@") as error:
        complete(environment, MEDIA_DATABASE_URL="postgresql://media:hun/ter2@db:5432/media")
    assert "hun/" not in str(error.value)
    assert "ter2" not in str(error.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:p%2Fw@[::1]:5432/media?sslmode=require",
        "postgres://u@a:5432,b:5433/media",
        "postgresql:///media?host=/run/postgresql&port=5433",
    ],
)
def test_valid_postgres_addresses_are_accepted(environment: pytest.MonkeyPatch, address: str) -> None:
    assert complete(environment, MEDIA_DATABASE_URL=address).database_url == address


@pytest.mark.parametrize(
    "given",
    [
        {"CLOUDFRONT_DOMAIN": "cdn.example.com", "CLOUDFRONT_KEY_PAIR_ID": "K1"},
        {"CLOUDFRONT_DOMAIN": "cdn.example.com", "CLOUDFRONT_PRIVATE_KEY": "/key.pem"},
        {"CLOUDFRONT_KEY_PAIR_ID": "K1", "CLOUDFRONT_PRIVATE_KEY": "/key.pem"},
    ],
)
def test_incomplete_cloudfront_is_refused(environment: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="go together"):
        complete(environment, **given)


def test_cloudfronts_domain_is_enough_for_public_files(environment: pytest.MonkeyPatch) -> None:
    assert complete(environment, CLOUDFRONT_DOMAIN="cdn.example.com").cloudfront_domain == "cdn.example.com"


def test_a_key_with_literal_newlines_is_a_key(environment: pytest.MonkeyPatch) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\\nabc\\n-----END PRIVATE KEY-----"
    read = complete(
        environment, CLOUDFRONT_DOMAIN="cdn.example.com", CLOUDFRONT_KEY_PAIR_ID="K1", CLOUDFRONT_PRIVATE_KEY=pem
    )
    assert read.cloudfront_private_key
    assert "\nabc\n" in read.cloudfront_private_key.get_secret_value()
    assert "abc" not in repr(read)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "http://emulator:99999"),
        ("REDIS_URL", "redis://user:secret@redis:99999"),
        ("MEDIA_CORS_ORIGINS", "https://page:port"),
    ],
)
def test_invalid_port_is_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}: its port must be a number up to 65535$"):
        complete(environment, **{name: value})


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_credential_with_a_line_end_is_refused_by_name(environment: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}: has white space or a line end around it$"):
        complete(environment, **{name: "test\n"})


def test_unreadable_settings_file_is_named_with_the_other_mistakes(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("MEDIA_DRAIN_TIMEOUT", "abc")
    (tmp_path / "env").write_bytes(b"MEDIA_PAGE_SCANNER=\xe9\n")
    with pytest.raises(SettingsError, match=rf"(?s)MEDIA_DRAIN_TIMEOUT: .*the file {tmp_path}/env: cannot be read: "):
        load(env_file=tmp_path / "env")


CANDIDATES = (
    "2592000",
    "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
    "https://a.example",
    "cdn.example",
    "arn:aws:iam::123456789012:role/media",
    "redis://a",
    "postgresql://a",
    "a-bucket",
    "10.0.0.0/8",
)
"""Values, each of which some setting accepts."""
NAMES = tuple(Settings.model_fields)
SECRETS = tuple(name for name in NAMES if Settings.model_fields[name].annotation == (SecretStr | None))


def value_of(name: str) -> str:
    """Return a valid value of a setting: its default, or a candidate that it accepts."""
    field = Settings.model_fields[name]
    default = None if field.is_required() else field.get_default()
    text = ",".join(default) if isinstance(default, tuple) else str("" if default is None else default)
    return text or next(value for value in CANDIDATES if is_accepted(name, value))


def is_accepted(name: str, value: str) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable(name), value)
        with pytest.raises(SettingsError) as error:
            load(env_file=None)
    return f"  {variable(name)}:" not in str(error.value)


@pytest.fixture
def everything(environment: pytest.MonkeyPatch) -> dict[str, str]:
    """A value for every setting, by variable. All are in the environment."""
    given = {variable(name): value_of(name) for name in NAMES}
    for name, value in given.items():
        environment.setenv(name, value)
    return given


@pytest.mark.parametrize(("before", "after"), [("", "\n"), ("", "\r\n"), ("", "\n\n"), ("\ufeff", "\r"), ("\n", "")])
def test_line_ends_around_a_value_are_removed(
    environment: pytest.MonkeyPatch, everything: dict[str, str], before: str, after: str
) -> None:
    clean = load(env_file=None)
    for name, value in everything.items():
        environment.setenv(name, before + value + after)
    assert load(env_file=None) == clean


def test_white_space_is_removed_except_from_secrets(
    environment: pytest.MonkeyPatch, everything: dict[str, str]
) -> None:
    clean = load(env_file=None)
    for name in NAMES:
        environment.setenv(variable(name), f" \t{everything[variable(name)]} \t")
    read = load(env_file=None)
    assert {name for name in NAMES if getattr(read, name) != getattr(clean, name)} == set(SECRETS)
    assert read.jwt_secret
    assert read.jwt_secret.get_secret_value() == f" \t{everything['MEDIA_JWT_SECRET']} \t"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_settings_file_may_have_a_byte_order_mark_and_any_line_ends(
    environment: pytest.MonkeyPatch, everything: dict[str, str], tmp_path: Path, end: bytes
) -> None:
    clean = load(env_file=None)
    lines = [f'{name}="{value}"'.encode() for name, value in everything.items()]
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbf" + end.join(lines) + end)
    for name in everything:
        environment.delenv(name)
    assert load(env_file=tmp_path / ".env") == clean


def test_blank_value_counts_as_not_set(environment: pytest.MonkeyPatch) -> None:
    blank = {variable(name): "\n" for name in NAMES}
    with pytest.raises(SettingsError) as error:
        complete(environment, **blank)
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == sorted(f"{n}: missing" for n in COMPLETE)
    assert complete(environment, **(blank | COMPLETE)) == load(env_file=None)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"concurrency": "0"}, "MEDIA_CONCURRENCY"),
        ({"aws_endpoint_url": "emulator"}, "AWS_ENDPOINT_URL"),
        ({"AWS_ENDPOINT_URL": "emulator"}, "AWS_ENDPOINT_URL"),
        (
            {"cloudfront_key_pair_id": "K1"},
            "CLOUDFRONT_DOMAIN, CLOUDFRONT_KEY_PAIR_ID, CLOUDFRONT_PRIVATE_KEY",
        ),
    ],
)
def test_wrong_override_is_named_once(environment: pytest.MonkeyPatch, given: dict[str, Any], names: str) -> None:
    complete(environment)
    with pytest.raises(SettingsError, match=rf"wrong:\n  {names}: .*$"):
        load(env_file=None, **given)


@pytest.mark.parametrize("name", ["MEDIA_JWT_JWKS_URL", "MEDIA_JWT_ISSUER", "MEDIA_FFMPEG", "AWS_REGION"])
def test_setting_of_two_lines_is_refused(environment: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: must be one line"):
        complete(environment, **{name: "https://a.example\nhttps://b.example"})


def test_secret_may_hold_a_second_line_while_it_is_rotated(environment: pytest.MonkeyPatch) -> None:
    old, new = "o" * 32, "n" * 32
    read = complete(environment, MEDIA_CALLBACK_SECRET=f"{new}\r\n{old}\n", MEDIA_JWT_SECRET=old)
    assert each_secret(read.callback_secret) == (new, old)
    assert each_secret(read.jwt_secret) == (old,)
    assert each_secret(None) == ()


@pytest.mark.parametrize("value", [f"{'o' * 32}\nshort", "\n".join(["o" * 32] * 3)])
def test_every_line_of_a_secret_is_checked(environment: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(SettingsError, match="MEDIA_CALLBACK_SECRET: must have"):
        complete(environment, MEDIA_CALLBACK_SECRET=value)
