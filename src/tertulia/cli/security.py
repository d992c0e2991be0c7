"""`tertulia security`: known vulnerabilities of the packages that the server uses."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tertulia.clock import now
from tertulia.instance.advisories import (
    ADDRESS,
    fetch_advisories,
    find_vulnerabilities,
    installed_packages,
    read_archive,
    store_advisories,
)
from tertulia.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Look for known vulnerabilities.")


@app.callback()
def _group() -> None:
    """Look for known vulnerabilities."""


@app.command("refresh")
def refresh_command(
    path: Annotated[
        Path | None,
        typer.Option("--from", help="A zip of advisories for PyPI from OSV, for a machine without internet."),
    ] = None,
    address: Annotated[str, typer.Option(help="The address of an OSV service.")] = ADDRESS,
) -> None:
    """Store the advisories for installed packages, and list those that affect them. The server may run."""
    settings = load_settings()
    installed = installed_packages()
    if path is not None:
        advisories = read_archive(path, installed, now=now())
    else:
        advisories = asyncio.run(fetch_advisories(installed, now=now(), address=address.rstrip("/")))
    store_advisories(settings.data, advisories)
    vulnerabilities = find_vulnerabilities(advisories, installed)
    for vulnerability in vulnerabilities:
        fix = f"fixed in {vulnerability['fixed_in']}" if vulnerability["fixed_in"] else "no fix is known"
        typer.echo(
            f"{vulnerability['package']} {vulnerability['version']}: {vulnerability['summary']} "
            f"({vulnerability['id']}, {fix})"
        )
    typer.echo(f"{len(vulnerabilities)} known vulnerabilities in {len(installed)} packages.")
