"""Tells scripts of a PDF that only format, print or explain from those that act. Pure."""

import hashlib
import re

LONGEST = 64 * 1024
"""Characters of a script that is looked at. Acrobat's own have some hundreds."""
# Only comments and strings hide their text from the check, and they are the same to every reader of JavaScript: there
# is no slash, backslash or backtick outside them, hence no regular expression, escape or template.
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\r\n\u2028\u2029]*|/\*.*?\*/)|(?P<string>"(?:[^"\\\r\n]|\\.)*"|'(?:[^'\\\r\n]|\\.)*')"""
    r"""|(?P<word>[A-Za-z_$][\w$]*)|(?P<other>\d[\d.]*|[-+(),;:\[\]{}.<>=!&|])""",
    re.DOTALL,
)
_LITERALS = frozenset({"true", "false", "null", "new", "Array"})
_FORMATTING = frozenset(
    f"AF{name}"
    for name in (
        *("Number_Format", "Number_Keystroke", "Percent_Format", "Percent_Keystroke", "Date_Format", "Date_Keystroke"),
        *("Date_FormatEx", "Date_KeystrokeEx", "Time_Format", "Time_Keystroke", "Time_FormatEx", "Time_KeystrokeEx"),
        *("Special_Format", "Special_Keystroke", "Special_KeystrokeEx", "Range_Validate", "Simple_Calculate"),
    )
)
"""Acrobat's functions that format, check or add up the fields of a form."""
_PRINTING = frozenset({"this", "print", "bUI", "bSilent", "bShrinkToFit", "bAnnotations", "nStart", "nEnd"})
_EXPLAINING = frozenset(
    {"var", "if", "else", "v", "n", "this", "app", "viewerVersion", "viewerVariation", "alert"}
    | {"dataObjects", "length", "external"}
)
"""Words of a script that tells the users of old versions of Acrobat where to find attachments."""
_ATTACHMENTS = "b00c9a4a82683938eac4289a8230e3fc9240e4231ec88a806863bad64f367817"
"""Digest of Acrobat's own such script, which has loops, without its strings: they are translated."""


def is_harmless(script: str) -> bool:
    """Tell whether a script only formats or prints, or is the one that Acrobat adds with an attachment."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(script):
        match = _TOKEN.match(script, at)
        if match is None or match.lastgroup is None or at > LONGEST:
            return False
        if match.lastgroup != "space":
            tokens.append((match.lastgroup, match.group()))
        at = match.end()
    words = {text for kind, text in tokens if kind == "word"}
    signs = {text for kind, text in tokens if kind == "other"}
    # Brackets could spell the name of any function.
    if not signs & {"[", "]"}:
        if words <= _LITERALS | _FORMATTING | _PRINTING and "=" not in signs:
            return True
        if words <= _LITERALS | _EXPLAINING and "viewerVersion" in words:
            return True
    skeleton = " ".join("''" if kind == "string" else text for kind, text in tokens)
    return hashlib.sha256(skeleton.encode()).hexdigest() == _ATTACHMENTS
