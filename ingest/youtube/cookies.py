"""A cookies.txt, read without showing a line of it: yt-dlp prints those that it cannot read."""

import re
from pathlib import Path

_FIELDS = 7
_EXPIRY = re.compile(r"([0-9]+(\.[0-9]+)?)?")


def cookies_text(path: Path) -> str:
    """The text of a file of cookies in Netscape form.

    Raises:
        ValueError: it is none; says which line, and not what stands there.
    """
    hint = "export it again in Netscape form, for example with yt-dlp --cookies"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"cookies: {path} is no text in UTF-8; {hint}") from None
    except OSError as error:
        raise ValueError(f"cookies: cannot read {path} ({error.strerror})") from error
    if text.lstrip().startswith(("[", "{")):
        raise ValueError(f"cookies: {path} is JSON; {hint}")
    for number, line in enumerate(text.split("\n"), 1):
        cookie = line.rstrip("\r").removeprefix("#HttpOnly_")
        if cookie.startswith("#") or not cookie.strip():
            continue
        where = f"cookies: {path}, line {number}"
        fields = cookie.split("\t")
        if len(fields) != _FIELDS:
            raise ValueError(
                f"{where}: {len(fields)} fields, expected {_FIELDS} with tabs between them "
                f"(domain, subdomains, path, secure, expiry, name, value); {hint}"
            )
        domain, subdomains, _, secure, expiry, *_ = fields
        if not {subdomains, secure} <= {"TRUE", "FALSE"} or not _EXPIRY.fullmatch(expiry):
            raise ValueError(
                f"{where}: expected TRUE or FALSE as second and fourth field, and seconds as "
                f"fifth; {hint}"
            )
        if (subdomains == "TRUE") != domain.startswith("."):
            raise ValueError(
                f"{where}: a domain begins with a dot where the second field is TRUE, and there "
                f"alone; {hint}"
            )
    return text
