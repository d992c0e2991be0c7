"""Change what guards rights, leases, limits, approvals and money, one place at a time, and see whether a test fails.

`scripts/mutate.py --count 150` picks that many changes at random (with a seed), runs the tests named for the changed file
on a copy of the repository, and lists the changes that no test noticed. It takes about 20 seconds for each change.
"""

import argparse
import ast
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Files, and the tests that must notice a change of them.
TARGETS: dict[str, tuple[str, ...]] = {
    "accounts/access.py": (
        "tests/accounts/test_granted.py",
        "tests/contracts/test_ended_shares.py",
        "tests/contracts/test_access.py",
    ),
    "chat/access.py": (
        "tests/accounts/test_granted.py",
        "tests/contracts/test_ended_shares.py",
        "tests/chat/test_shared_chats.py",
    ),
    "drafts/access.py": ("tests/contracts/test_ended_shares.py", "tests/drafts/test_shared_drafts.py"),
    "accounts/sessions.py": ("tests/accounts/test_sessions.py", "tests/accounts"),
    "accounts/api_tokens.py": ("tests/accounts/test_api_tokens.py", "tests/tools/test_tokens_and_rules.py"),
    "accounts/row_limits.py": ("tests/accounts/test_row_limits.py",),
    "accounts/password_attempts.py": ("tests/accounts/test_password_attempts.py", "tests/accounts/test_sign_in.py"),
    "accounts/known_devices.py": ("tests/accounts/test_sign_in.py",),
    "accounts/revocations.py": ("tests/transfer/test_restored_access.py",),
    "runs/lease.py": ("tests/runs/test_leases.py",),
    "runs/engine/claims.py": ("tests/runs/test_leases.py", "tests/runs/test_replies.py"),
    "runs/calls/life.py": (
        "tests/runs/test_leases.py",
        "tests/runs/test_tool_safety.py",
        "tests/runs/test_tool_life.py",
        "tests/runs/calls",
    ),
    "runs/calls/sources.py": ("tests/runs/calls/test_sources.py", "tests/runs/calls/test_provenance.py"),
    "runs/calls/proposing.py": (
        "tests/runs/calls/test_earlier_calls.py",
        "tests/runs/calls",
        "tests/runs/test_tool_safety.py",
    ),
    "tools/policy.py": ("tests/tools/test_policy.py", "tests/runs/calls/test_provenance.py"),
    "tools/provenance.py": ("tests/tools/test_policy.py", "tests/runs/calls/test_provenance.py"),
    "tools/patterns.py": ("tests/tools/test_policy.py",),
    "tools/validation.py": (
        "tests/tools/test_validation.py",
        "tests/tools/test_builtin.py",
        "tests/runs/test_tool_safety.py",
    ),
    "billing/ledger.py": (
        "tests/billing/test_ledger.py",
        "tests/billing",
        "tests/runs/test_tool_life.py",
        "tests/accounts/test_defaults.py",
    ),
    "billing/room.py": ("tests/billing/test_quotas.py", "tests/billing/test_project_limits.py", "tests/billing"),
    "billing/counts.py": ("tests/billing/test_ledger.py", "tests/billing"),
    "http/body.py": ("tests/http", "tests/contracts/test_body_limits.py"),
    "http/protocol.py": ("tests/http/test_head_timer.py", "tests/http/test_heads.py"),
    "db/sqlite_file.py": ("tests/db/test_sqlite_file.py",),
}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
# Not `join`: without its condition SQLAlchemy joins by the foreign key, which is the same.
FILTERS = ("where", "and_")


@dataclass(frozen=True)
class Mutant:
    """A file with one place changed."""

    file: str
    line: int
    what: str
    source: str

    def __str__(self) -> str:
        return f"src/tertulia/{self.file}:{self.line}: {self.what}"


def mutants_of(file: str) -> Iterator[Mutant]:
    """Yield all mutants of a file."""
    source = (ROOT / "src" / "tertulia" / file).read_text()
    for node in ast.walk(ast.parse(source)):
        for what, start, end, text in _changes(source, node):
            yield Mutant(file, getattr(node, "lineno", 0), what, source[:start] + text + source[end:])


def _changes(source: str, node: ast.AST) -> Iterator[tuple[str, int, int, str]]:
    """Yield descriptions and replacements of parts of the source: start, end, text."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
            start, end = _span(source, left)[1], _span(source, right)[0]
            # Parentheses around an operand belong to it.
            between = source[start:end]
            before, after = between[: len(between) - len(between.lstrip(") "))], between[len(between.rstrip("( ")) :]
            yield (
                f"{between.strip()} becomes {COMPARISONS[type(op)]}",
                start,
                end,
                f"{before} {COMPARISONS[type(op)]} {after}",
            )
        case ast.BoolOp(op=op, values=[first, second, *_]):
            start, end = _span(source, first)[1], _span(source, second)[0]
            old, new = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
            yield f"{old} becomes {new}", start, end, source[start:end].replace(old, new, 1)
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() as op, right=right) if not isinstance(
            right, ast.Constant
        ):
            start, end = _span(source, left)[1], _span(source, right)[0]
            old, new = ("&", "|") if isinstance(op, ast.BitAnd) else ("|", "&")
            yield f"{old} becomes {new}", start, end, source[start:end].replace(old, new, 1)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            start, _ = _span(source, node)
            yield "not is dropped", start, _span(source, operand)[0], ""
        case ast.Raise():
            yield "raise is dropped", *_span(source, node), "pass"
        case ast.Return(value=ast.Constant(value=bool(value))):
            yield f"return {value} is inverted", *_span(source, node), f"return {not value}"
        case ast.Call(func=ast.Attribute(attr=name), args=[_, *_] as args) if name in FILTERS and len(args) > 1:
            for place, argument in enumerate(args):
                if isinstance(argument, ast.Starred):
                    continue
                start, end = _span(source, argument)
                if place:
                    start = _span(source, args[place - 1])[1]
                else:
                    end = _span(source, args[1])[0]
                yield f"a condition of {name} is dropped: {ast.unparse(argument)[:60]}", start, end, ""


def _span(source: str, node: ast.AST) -> tuple[int, int]:
    lines = source.splitlines(keepends=True)

    def offset(line: int, column: int) -> int:
        before = sum(map(len, lines[: line - 1]))
        return before + len(lines[line - 1].encode()[:column].decode())

    return offset(node.lineno, node.col_offset), offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]


def is_noticed(mutant: Mutant, folder: Path) -> bool:
    """Run the tests of a mutant in a copy of the repository, and return whether one fails."""
    path = folder / "src" / "tertulia" / mutant.file
    original = path.read_text()
    path.write_text(mutant.source)
    try:
        ast.parse(mutant.source)
        return not passes(mutant.file, folder)
    except (SyntaxError, subprocess.TimeoutExpired):
        return True
    finally:
        path.write_text(original)


def passes(file: str, folder: Path, *, shows_failure: bool = False) -> bool:
    """Run the tests of a file in a copy of the repository, and return whether all of them pass."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={folder / 'tmp'}",
        *TARGETS[file],
    ]
    environment = {
        "PYTHONPATH": str(folder / "src"),
        "TERTULIA_TEST_ENGINES": "sqlite",
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    if shows_failure and done.returncode:
        print(done.stdout[-3000:])
    return done.returncode == 0


def unnoticed_in(output: str, everything: list[Mutant]) -> Iterator[Mutant]:
    """Yield the changes that an earlier run did not notice. Their lines may have moved since."""
    for file, line, what in re.findall(r"not noticed: src/tertulia/(\S+?):(\d+): (.*?)\.*$", output, re.MULTILINE):
        same = [mutant for mutant in everything if mutant.file == file and mutant.what.rstrip(".").startswith(what)]
        if same:
            yield min(same, key=lambda mutant: abs(mutant.line - int(line)))
        else:
            print(f"{file}:{line}: there is no such place any more: {what}")


def main() -> int:
    """Run the mutants and report those that no test noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="one of the files, such as tools/policy.py")
    parser.add_argument(
        "--again", type=Path, help="the output of an earlier run, whose unnoticed changes are tried again"
    )
    arguments = parser.parse_args()
    files = [arguments.only] if arguments.only else list(TARGETS)
    everything = [mutant for file in files for mutant in mutants_of(file)]
    pick = random.Random(arguments.seed)  # noqa: S311 - a choice of mutants, not a secret
    chosen = pick.sample(everything, min(arguments.count, len(everything)))
    if arguments.again is not None:
        chosen = list(unnoticed_in(arguments.again.read_text(), everything))
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(number) for number in range(arguments.jobs)]
        for folder in folders:
            shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".venv", "node_modules", ".git", "data"))

        # Tests that fail without a change would count as having noticed every change.
        needed = sorted({mutant.file for mutant in chosen})
        with ThreadPoolExecutor(arguments.jobs) as pool:
            results = pool.map(
                lambda number: [
                    (file, passes(file, folders[number], shows_failure=True))
                    for file in needed[number :: arguments.jobs]
                ],
                range(arguments.jobs),
            )
        failing = [file for part in results for file, passed in part if not passed]
        if failing:
            print(f"The tests of these files fail without a change: {', '.join(failing)}.")
            return 1

        def run(number: int) -> list[Mutant]:
            own = chosen[number :: arguments.jobs]
            survivors = []
            for mutant in own:
                noticed = is_noticed(mutant, folders[number])
                print("." if noticed else f"\nnot noticed: {mutant}", end="", flush=True)
                if not noticed:
                    survivors.append(mutant)
            return survivors

        with ThreadPoolExecutor(arguments.jobs) as pool:
            survivors = [mutant for part in pool.map(run, range(arguments.jobs)) for mutant in part]
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} changes were noticed (of {len(everything)} possible).")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
