"""`tertulia quota`: limit what people may use."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from pydantic import ValidationError
from sqlalchemy.orm import Session

from tertulia.accounts.models import UserRole
from tertulia.billing.errors import WINDOWS, written
from tertulia.billing.models import Plan, QuotaSubject, QuotaWindow
from tertulia.billing.quotas import ChatOwnership, create_quota, delete_quota, list_quotas
from tertulia.billing.schemas import MAXIMA, QuotaCreate, QuotaRead
from tertulia.cli.running import OPERATOR, find_user_id, write_or_ask
from tertulia.db.opening import plain_engine
from tertulia.errors import SettingsError
from tertulia.ids import QuotaId, parse_id
from tertulia.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Limit what people may use.")
NO_CHATS = ChatOwnership(lambda _session, _actor, _chat_id: False)  # the operator owns none


@app.command("set")
def set_command(
    window: Annotated[QuotaWindow, typer.Option(help="The window that the limits count in.")] = QuotaWindow.MONTH,
    user: Annotated[str | None, typer.Option(help="Limit this user.")] = None,
    role: Annotated[UserRole | None, typer.Option(help="Limit each user with this role.")] = None,
    plan: Annotated[str | None, typer.Option(help="Limit each user on the plan of this name.")] = None,
    project: Annotated[str | None, typer.Option(help="Limit the project of this ID, all members together.")] = None,
    chat: Annotated[str | None, typer.Option(help="Limit the chat of this ID, all who pay in it together.")] = None,
    token: Annotated[str | None, typer.Option(help="Limit the API token of this ID.")] = None,
    sliding: Annotated[
        bool, typer.Option("--sliding", help="Let the window end now instead of by the calendar.")
    ] = False,
    requests: Annotated[int | None, typer.Option(min=0, help="Requests to models.")] = None,
    messages: Annotated[int | None, typer.Option(min=0, help="Messages, in the window `day`.")] = None,
    tokens: Annotated[int | None, typer.Option(min=0, help="Tokens in and out together.")] = None,
    input_tokens: Annotated[int | None, typer.Option(min=0, help="Tokens in.")] = None,
    output_tokens: Annotated[int | None, typer.Option(min=0, help="Tokens out.")] = None,
    cost: Annotated[str | None, typer.Option(help="Dollars.")] = None,
    storage: Annotated[int | None, typer.Option(min=0, help="Bytes of stored files.")] = None,
) -> None:
    """Set a limit for a user, for each user with a role or on a plan, or for a project, a chat or an API token."""
    by_id = {QuotaSubject.PROJECT: project, QuotaSubject.CHAT: chat, QuotaSubject.TOKEN: token}
    named = [(kind, value) for kind, value in by_id.items() if value is not None]
    if len([value for value in (user, role, plan) if value is not None]) + len(named) != 1:
        raise SettingsError("Name exactly one of --user, --role, --plan, --project, --chat and --token.")
    values: dict[str, Any] = {
        "window": window,
        "is_sliding": sliding,
        "max_requests": requests,
        "max_messages": messages,
        "max_tokens": tokens,
        "max_input_tokens": input_tokens,
        "max_output_tokens": output_tokens,
        "max_cost": _dollars(cost),
        "max_storage_bytes": storage,
    }
    settings = load_settings()
    engine = plain_engine(settings, writes=False)
    with Session(engine) as session:
        if named:
            subject = named[0]
        elif user is not None:
            subject = (QuotaSubject.USER, find_user_id(session, user))
        elif role is not None:
            subject = (QuotaSubject.ROLE, role.value)
        else:
            subject = (QuotaSubject.PLAN, _find_plan(session, str(plan)))
    engine.dispose()
    try:
        new = QuotaCreate(subject_kind=subject[0], subject_id=subject[1], **values)
    except ValidationError as error:
        raise SettingsError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None

    def create(session: Session) -> QuotaRead:
        return create_quota(session, OPERATOR, new, NO_CHATS)

    quota = write_or_ask(settings, create, "POST", "/quotas", lambda answer: answer, body=new.model_dump(mode="json"))
    typer.echo(_as_line(quota) if quota else "")


def _find_plan(session: Session, name: str) -> str:
    plan_id = session.scalar(sa.select(Plan.id).where(Plan.name == name))
    if plan_id is None:
        raise SettingsError(f"There is no plan {name}.")
    return plan_id


def _dollars(cost: str | None) -> Decimal | None:
    if cost is None:
        return None
    try:
        return Decimal(cost)
    except InvalidOperation:
        raise SettingsError(f"{cost} is no amount. Write dollars such as 20 or 0.50.") from None


@app.command("list")
def list_command() -> None:
    """List the limits that administrators set."""
    engine = plain_engine(load_settings(), writes=False)
    with Session(engine) as session:
        for quota in list_quotas(session, OPERATOR, is_everyone=True, after=None, limit=10_000):
            typer.echo(_as_line(quota))
    engine.dispose()


@app.command("delete")
def delete_command(quota_id: Annotated[str, typer.Argument(help="The id that `tertulia quota list` shows.")]) -> None:
    """Delete a limit."""
    try:
        parse_id(quota_id)
    except ValueError:
        raise SettingsError(f"{quota_id} is no id. `tertulia quota list` shows them.") from None

    def delete(session: Session) -> None:
        delete_quota(session, OPERATOR, QuotaId(quota_id))

    write_or_ask(load_settings(), delete, "DELETE", f"/quotas/{quota_id}")
    typer.echo("The limit is deleted.")


def _as_line(quota: QuotaRead) -> str:
    limits = [
        written(name.removeprefix("max_").removesuffix("_bytes"), Decimal(str(quota[name])))  # type: ignore[literal-required]
        for name in MAXIMA
        if quota[name] is not None  # type: ignore[literal-required]
    ]
    window = f"{WINDOWS[quota['window']]}{' (sliding)' if quota['is_sliding'] else ''}"
    name = quota["subject_name"] or quota["subject_id"]
    return f"{quota['id']}  {quota['subject_kind']} {name}: {', '.join(limits)} {window}"
