"""List the models that can be built in, with the sources and hashes of their files."""

import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class ModelFile:
    name: str
    display_name: str
    licence: str
    file_name: str
    size_bytes: int
    sha256: str
    url: str | None  # the publisher's own file
    packages: tuple[str, ...]  # pinned requirements with their hashes, in the order of their parts


def load_catalogue() -> tuple[ModelFile, ...]:
    """Load the models, largest first, which is also the order of fallback."""
    entries = tomllib.loads(resources.files(__package__).joinpath("models.toml").read_text("utf-8"))["model"]
    return tuple(
        ModelFile(**(entry | {"url": entry.get("url"), "packages": tuple(entry["packages"])})) for entry in entries
    )


def candidates(chosen: str, catalogue: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
    """Return the chosen model, then its fallbacks in order."""
    first = tuple(model for model in catalogue if model.name == chosen)
    return first + tuple(model for model in catalogue if model.name != chosen)
