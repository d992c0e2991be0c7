"""How much of the source a new domain has to change: a domain of notes is added to a copy, and used.

It has a table, a list, live updates, search, sharing and export. Outside its own folder it may change three files in addition to the
layers in pyproject.toml.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).parent / "toy"
USES = ["list", "live", "hidden", "search", "search_hidden", "shared", "revoked", "export", "anonymous", "document"]
MAX_CHANGED_FILES = 3
SHARE_COLUMN = """    draft_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"))
"""
SHARE_CHECK = '"(chat_id IS NULL) <> (draft_id IS NULL)"'


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """Return a copy of the source with the domain, and the files outside its folder that were changed or added."""
    copy = tmp_path_factory.mktemp("toy")
    shutil.copytree(ROOT / "src" / "tertulia", copy / "src" / "tertulia", ignore=shutil.ignore_patterns("__pycache__"))
    package = copy / "src" / "tertulia"
    shutil.copytree(TOY, package / "notes", ignore=shutil.ignore_patterns("__pycache__", "use.py", "migration.py"))

    # 1: its table is created, and shares get a column for it.
    versions = package / "db" / "migrations" / "versions"
    newest = max(path.stem for path in versions.glob("0*.py"))
    previous = (versions / f"{newest}.py").read_text().split("\nrevision")[1].split('"')[1]
    (versions / "9999_notes.py").write_text((TOY / "migration.py").read_text().replace("PREVIOUS", previous))
    # 2: what can be shared is a column of shares.
    models = package / "accounts" / "models.py"
    _replace(models, SHARE_COLUMN, SHARE_COLUMN + SHARE_COLUMN.replace("draft", "note"))
    _replace(models, SHARE_CHECK, '"(chat_id IS NOT NULL) + (draft_id IS NOT NULL) + (note_id IS NOT NULL) = 1"')
    return copy, _changed_files(copy)


def test_a_new_domain_changes_at_most_three_files_outside_its_folder(changed: tuple[Path, set[str]]) -> None:
    assert len(changed[1]) <= MAX_CHANGED_FILES, changed[1]


def test_the_new_domain_lists_shares_searches_exports_and_updates_live(
    changed: tuple[Path, set[str]], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(TOY / "use.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{changed[0] / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert results == dict.fromkeys(USES, True)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has changed: bring this test up to date"
    path.write_text(text.replace(old, new))


def _changed_files(copy: Path) -> set[str]:
    package = copy / "src" / "tertulia"
    original = ROOT / "src" / "tertulia"
    return {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "notes" not in path.relative_to(package).parts
        and (
            not (original / path.relative_to(package)).exists()
            or path.read_bytes() != (original / path.relative_to(package)).read_bytes()
        )
    }
