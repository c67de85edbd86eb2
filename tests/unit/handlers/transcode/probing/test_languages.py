import pytest

from handlers.transcode.probing.languages import language_name, language_tag


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
    assert language_tag(language) == tag


def test_menu_shows_the_own_name_of_a_language() -> None:
    assert [language_name(tag) for tag in ("de", "pt-BR", "gsw", None)] == ["Deutsch", "Português", "gsw", "Original"]
