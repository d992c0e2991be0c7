"""A page of the web as Markdown: run as a process of its own, with limits, on what anybody may have written."""

import resource
import sys
from pathlib import Path

from bs4 import BeautifulSoup
from markdownify import MarkdownConverter

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_S = 10
MAX_TEXT = 2 * 1024 * 1024
_NOT_WORDS = ("script", "style", "noscript", "template", "svg", "iframe", "form", "nav", "footer")


def main(source: str, target: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soup = BeautifulSoup(Path(source).read_bytes(), "html.parser")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for element in soup(_NOT_WORDS):
        element.decompose()
    body = soup.find("main") or soup.find("article") or soup.body or soup
    words = MarkdownConverter(heading_style="ATX", strip=["img"]).convert_soup(body)
    lines = [line.rstrip() for line in words.split("\n")]
    text = "\n".join(line for at, line in enumerate(lines) if line or (at and lines[at - 1]))
    whole = f"# {title}\n\n{text.strip()}" if title and not text.strip().startswith("# ") else text.strip()
    unfinished = Path(f"{target}.part")
    unfinished.write_text(whole[:MAX_TEXT], "utf-8")
    unfinished.rename(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
