"""Pages that need no other file: one look, light and dark, for whatever people look at."""

import base64
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render(room: str, template: str, **values: Any) -> str:
    """The HTML of a template of a room; it extends `page.html.j2`, which lies here."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(f"slvr.{folder}", ".") for folder in (room, "command")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def data_url(media_type: str, content: bytes) -> str:
    """A file as a URL that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
