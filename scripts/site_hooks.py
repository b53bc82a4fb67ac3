"""Hooks of mkdocs: what the repository's pages and docstrings say by other means than a site does."""

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Keep only the words of links to files outside docs/, which lead somewhere in the repository alone."""
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Drop the roles that docstrings mark names with: :class:`~lohovla.policies.base.Decision` is Decision."""
    html = re.sub(r":(?:meth|class|mod|func|attr|data|exc):\s*(?=<code>)", "", html)
    return re.sub(r"<code>~(?:[\w.]+\.)?(\w+)</code>", r"<code>\1</code>", html)
