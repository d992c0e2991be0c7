"""Check the wording of code and documents: forbidden words, docstrings that begin with a verb, short sentences, ADR sections."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERBS = frozenset((ROOT / "scripts/prose_verbs.txt").read_text().split())
FORBIDDEN = re.compile(
    r"(?i)\b(who(m|so)?ever|whatever|nobody|somebody|anew|one's|thereof|dear|dearer|unasked|besides?|by itself"
    r"|of its own|goes by|stands?(?![- ]?alone)|leave to read|made shorter)\b"
)
VAGUE_NAMES = {"one", "found", "made", "given", "told", "came", "asked", "gone", "begun"}
CODE = re.compile(r"(?s:/\*.*?\*/)|(?<!\S)//.*|(\S)")  # a comment of TypeScript or CSS, or a character of code
ADR_SECTIONS = ("Status", "Context", "Decision", "Consequences", "Alternatives", "Check")
QUOTES = ("check_prose.py", "test_check_prose.py", "plain-english.md", "conformance.md")  # files that quote the words
MAX_SENTENCE_WORDS, MAX_SUBJECT = 30, 72
SUBJECT = re.compile(r"(Merge |Revert |fixup! |[a-z][a-z0-9/_-]*: [A-Z])")


def check_python(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__):
        if token.type in (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)):
            yield from _forbidden(token.string, token.start[0])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = re.match(r"[\w-]+", ast.get_docstring(node) or "return")
            if first is None or first[0].lower() not in VERBS:
                yield node.lineno, f"the docstring of {node.name} does not begin with a verb of scripts/prose_verbs.txt"
        name = "" if isinstance(getattr(node, "ctx", None), ast.Load) else getattr(node, "arg", getattr(node, "id", ""))
        if isinstance(node, ast.arg | ast.Name) and name in VAGUE_NAMES:
            yield node.lineno, f"the name '{name}' says nothing; use the noun"


def check_markdown(source: str) -> Iterator[tuple[int, str]]:
    text = re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), source, flags=re.DOTALL)
    yield from _forbidden(text)
    for block in re.finditer(r"(?:^(?![|#]).+\n?)+", text, re.MULTILINE):
        for sentence in re.split(r"(?<=[.!?:;])\s+|\n\s*(?:[-*]|\d+\.)\s", re.sub(r"`[^`]*`", "x", block[0])):
            if (words := len(sentence.split())) > MAX_SENTENCE_WORDS:
                yield text[: block.start()].count("\n") + 1, f"a sentence of {words} words: {sentence.strip()[:60]} …"
    if re.match(r"# \d+\. ", text):  # a decision record
        headings = re.findall(r"^## (\w+)", text, re.MULTILINE)
        yield from ((1, f"no section '{name}'") for name in ADR_SECTIONS if name not in headings)


def check_typescript(source: str) -> Iterator[tuple[int, str]]:
    yield from _forbidden(CODE.sub(lambda match: " " if match[1] else match[0], source))


def check_subject(subject: str) -> Iterator[tuple[int, str]]:
    if len(subject) > MAX_SUBJECT or not SUBJECT.match(subject):
        yield 1, f"write `area: Imperative summary`, at most {MAX_SUBJECT} characters: {subject}"


def _forbidden(text: str, line: int = 1) -> Iterator[tuple[int, str]]:
    for match in FORBIDDEN.finditer(text):
        yield line + text[: match.start()].count("\n"), f"'{match[0]}': see docs/internal/plain-english.md"


def main(arguments: list[str]) -> bool:
    if arguments[:1] == ["--commit"]:
        problems = [(Path(arguments[1]), *p) for p in check_subject(Path(arguments[1]).read_text().split("\n")[0])]
    else:
        command, problems = ["git", "ls-files", "*.py", "*.md", "*.ts", "*.tsx", "*.css"], []
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        for path in map(Path, arguments or names):
            if "migrations/versions" not in str(path) and path.name not in QUOTES:
                check = {".py": check_python, ".md": check_markdown}.get(path.suffix, check_typescript)
                problems += [(path, *problem) for problem in check((ROOT / path).read_text(encoding="utf-8"))]
    print(*(f"{path}:{line}: {problem}" for path, line, problem in problems), sep="\n", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
