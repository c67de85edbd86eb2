import pytest

from handlers.transcode.probing.languages import name_of, tag_of


@pytest.mark.parametrize(
    ("language", "tag"),
    [
        ("ger", "de"),
        ("deu", "de"),
        ("DEU", "de"),
        ("de", "de"),
        ("en-us", "en-US"),
        ("pt_BR", "pt-BR"),
        ("gsw", "gsw"),
        ("und", None),
        ("", None),
        (None, None),
        ("english", None),
        ('e"n', None),
        ("en-x\nEXT", "en"),
        ("日本", None),
    ],
)
def test_a_playlist_names_a_language_by_its_shortest_tag(language: str | None, tag: str | None) -> None:
    assert tag_of(language) == tag


def test_a_menu_shows_the_language_s_own_name() -> None:
    assert [name_of(tag) for tag in ("de", "pt-BR", "gsw", None)] == ["Deutsch", "Português", "gsw", "Original"]
