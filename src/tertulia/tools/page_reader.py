"""Convert an untrusted web page to Markdown. Runs as a separate process with memory and CPU limits."""

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
    markdown = MarkdownConverter(heading_style="ATX", strip=["img"]).convert_soup(body)
    lines = [line.rstrip() for line in markdown.split("\n")]
    text = "\n".join(line for index, line in enumerate(lines) if line or (index and lines[index - 1]))
    document = f"# {title}\n\n{text.strip()}" if title and not text.strip().startswith("# ") else text.strip()
    partial = Path(f"{target}.part")
    partial.write_text(document[:MAX_TEXT], "utf-8")
    partial.rename(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
