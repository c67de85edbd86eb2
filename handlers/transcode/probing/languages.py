"""Language tags for playlists (BCP 47) and language names for a player's menu. Pure."""

_NAMES = {
    "ar": ("العربية", "ara"),
    "bg": ("Български", "bul"),
    "bn": ("বাংলা", "ben"),
    "cs": ("Čeština", "cze", "ces"),
    "da": ("Dansk", "dan"),
    "de": ("Deutsch", "ger", "deu"),
    "el": ("Ελληνικά", "gre", "ell"),
    "en": ("English", "eng"),
    "es": ("Español", "spa"),
    "et": ("Eesti", "est"),
    "fa": ("فارسی", "per", "fas"),
    "fi": ("Suomi", "fin"),
    "fr": ("Français", "fre", "fra"),
    "gu": ("ગુજરાતી", "guj"),
    "he": ("עברית", "heb"),
    "hi": ("हिन्दी", "hin"),
    "hr": ("Hrvatski", "hrv"),
    "hu": ("Magyar", "hun"),
    "id": ("Bahasa Indonesia", "ind"),
    "it": ("Italiano", "ita"),
    "ja": ("日本語", "jpn"),
    "kn": ("ಕನ್ನಡ", "kan"),
    "ko": ("한국어", "kor"),
    "lt": ("Lietuvių", "lit"),
    "lv": ("Latviešu", "lav"),
    "ml": ("മലയാളം", "mal"),
    "mr": ("मराठी", "mar"),
    "ms": ("Bahasa Melayu", "may", "msa"),
    "nl": ("Nederlands", "dut", "nld"),
    "no": ("Norsk", "nor", "nob", "nno"),
    "pa": ("ਪੰਜਾਬੀ", "pan"),
    "pl": ("Polski", "pol"),
    "pt": ("Português", "por"),
    "ro": ("Română", "rum", "ron"),
    "ru": ("Русский", "rus"),
    "sk": ("Slovenčina", "slo", "slk"),
    "sl": ("Slovenščina", "slv"),
    "sr": ("Српски", "srp"),
    "sv": ("Svenska", "swe"),
    "ta": ("தமிழ்", "tam"),
    "te": ("తెలుగు", "tel"),
    "th": ("ไทย", "tha"),
    "tr": ("Türkçe", "tur"),
    "uk": ("Українська", "ukr"),
    "ur": ("اردو", "urd"),
    "vi": ("Tiếng Việt", "vie"),
    "zh": ("中文", "chi", "zho"),
}
"""The language's own name, then its codes in containers (ISO 639-2, B and T), by two-letter code."""

_TAGS = {code: tag for tag, (_, *codes) in _NAMES.items() for code in codes}


def language_tag(language: str | None) -> str | None:
    """Return the BCP 47 tag for a container's language, three letters or a tag already; None when it is no language.

    BCP 47 wants the shortest code that exists. A language that is not listed above keeps its three letters.
    """
    primary, _, rest = (language or "").replace("_", "-").partition("-")
    primary = primary.lower()
    if not (primary.isascii() and primary.isalpha() and len(primary) in {2, 3}) or primary in {"und", "mul", "zxx"}:
        return None
    region = rest if rest.isascii() and rest.isalpha() and len(rest) == 2 else ""  # ISO 3166
    return _TAGS.get(primary, primary) + (f"-{region.upper()}" if region else "")


def language_name(tag: str | None) -> str:
    """Return the name that a player's menu shows for a tag."""
    known = _NAMES.get((tag or "").partition("-")[0])
    return known[0] if known else (tag or "Original")
