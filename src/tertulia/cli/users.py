"""`tertulia user`: create users, reset passwords, deactivate."""

import asyncio
import sys
from typing import Annotated
from urllib.parse import quote

import typer
from sqlalchemy.orm import Session

from tertulia.accounts.administration import deactivate_user, reset_password
from tertulia.accounts.models import UserRole
from tertulia.accounts.passwords import check_password, hash_password
from tertulia.accounts.schemas import UserCreate
from tertulia.accounts.service import create_user
from tertulia.cli.running import OPERATOR, write_or_ask
from tertulia.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Create and manage users.")


@app.command("create")
def create_command(
    username: Annotated[str, typer.Argument(help="1 to 50 characters: a-z, 0-9, dot, underscore, hyphen.")],
    name: Annotated[str, typer.Option(help="The user's full name.")] = "",
    email: Annotated[str | None, typer.Option(help="The user's e-mail address.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Let the user manage other users.")] = False,
) -> None:
    """Create a user. The password is asked for, or read from standard input."""
    role = UserRole.ADMIN if admin else UserRole.USER
    account = UserCreate(username=username, name=name or username, password=_ask_password(), email=email, role=role)
    check_password(account.password, names=(account.username, account.name, account.email or ""))
    password_hash = asyncio.run(hash_password(account.password))

    def create(session: Session) -> object:
        return create_user(session, OPERATOR, account, password_hash=password_hash)

    write_or_ask(load_settings(), create, "POST", "/users", body=account.model_dump(mode="json"))
    typer.echo(f"{username} can sign in now.")


@app.command("reset-password")
def reset_password_command(username: Annotated[str, typer.Argument(help="The user name.")]) -> None:
    """Set a new password, asked for or read from standard input. All devices and API tokens of the user are signed out."""
    password = _ask_password()
    check_password(password, names=(username,))
    new_hash = asyncio.run(hash_password(password))

    def reset(session: Session) -> object:
        return reset_password(session, OPERATOR, username, new_hash=new_hash)

    path = f"/operator/users/{quote(username, safe='')}/password"
    write_or_ask(load_settings(), reset, "POST", path, body={"password": password})
    typer.echo(f"{username} has the new password and is signed out everywhere.")


@app.command("deactivate")
def deactivate_command(username: Annotated[str, typer.Argument(help="The user name.")]) -> None:
    """End every session of a user and refuse further sign-ins. Their data stays. An administrator can undo this."""

    def deactivate(session: Session) -> object:
        return deactivate_user(session, OPERATOR, username)

    write_or_ask(load_settings(), deactivate, "POST", f"/operator/users/{quote(username, safe='')}/deactivate")
    typer.echo(f"{username} is signed out and cannot sign in.")


def _ask_password() -> str:
    if sys.stdin.isatty():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return password
    return sys.stdin.readline().rstrip("\n")
