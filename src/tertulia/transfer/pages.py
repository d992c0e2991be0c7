"""Render Markdown as HTML, and build self-contained pages without scripts and external requests."""

import html
import re
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from starlette.responses import Response
from typing_extensions import override

_STYLE = """
body { font: 17px/1.6 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #2b2520; background: #fdfbf7 }
header p, .who { color: #6b6058; font-size: 14px } article { margin: 1.5rem 0 } .user { background: #f3efe8; border-radius: 10px; padding: .1rem 1rem }
pre { overflow-x: auto; background: #f3efe8; padding: .75rem; border-radius: 10px } code { font-family: ui-monospace, monospace; font-size: .9em }
table { border-collapse: collapse } td, th { border: 1px solid #d8cfc4; padding: .25rem .5rem } img { max-width: 100% } details { color: #6b6058 }
@media (prefers-color-scheme: dark) { body { color: #efe9e1; background: #211e1b } .user, pre { background: #2d2925 }
header p, .who, details { color: #b3a89c } td, th { border-color: #4a443d } }
"""


class _Renderer(RendererHTML):
    @override
    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Render an external image as a link, so that it is never loaded automatically."""
        source = html.escape(str(tokens[idx].attrs.get("src", "")))
        return (
            f'<a href="{source}" rel="noopener noreferrer nofollow">{html.escape(tokens[idx].content or "Picture")}</a>'
        )

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        tokens[idx].attrSet("rel", "noopener noreferrer nofollow")
        return self.renderToken(tokens, idx, options, env)


def _may_lead(url: str) -> bool:
    return url.startswith("#") or urlsplit(url).scheme.lower() in ("http", "https", "mailto")


# Raw HTML stays text, and links have safe schemes only.
MARKDOWN = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable(["table", "strikethrough"])
MARKDOWN.validateLink = _may_lead  # type: ignore[method-assign]


def rendered(text: str) -> str:
    rendered_html: str = MARKDOWN.render(text)
    return rendered_html


def page(title: str, note: str, body: str) -> str:
    """Build a page. `body` is HTML, the others are text."""
    title = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><header><h1>{title}</h1>"
        f"<p>{html.escape(note)}</p></header><main>{body}</main></body></html>"
    )


def file_name(title: str, otherwise: str) -> str:
    """Make a file name of the title that every system accepts: letters, digits and few other characters."""
    kept = re.sub(r"[^\w .-]+", " ", title).strip(" .")
    return re.sub(r"\s+", " ", kept)[:80].strip(" .") or otherwise


def download(name: str, media_type: str, content: bytes) -> Response:
    return Response(
        content,
        media_type=media_type,
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            # If a browser displays it anyway, the page has no origin and runs no scripts.
            "Content-Security-Policy": "sandbox; default-src 'none'",
        },
    )
