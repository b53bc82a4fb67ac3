"""Hooks of mkdocs: links to files of the repository that lie outside docs/ become their names on the site."""

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Keep the words of such links; on the repository's own pages they lead to the file."""
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", markdown)
