"""How calls of tools fail."""

from datetime import datetime

from tertulia.errors import Conflict, Forbidden, Invalid, NotFound


class ToolExecutionNotFound(NotFound):
    code = "tool_execution_not_found"


class NotYoursToDecide(Forbidden):
    code = "not_yours_to_decide"

    def __init__(self) -> None:
        super().__init__("Whoever asked the model decides about its tools, and nobody else.")


class AlreadyDecided(Conflict):
    """Somebody, or another window, was first: what they decided stands."""

    code = "already_decided"

    def __init__(self, status: str, by: str | None, at: datetime | None) -> None:
        who = by or "Nobody in time" if status == "timeout" else by or "A rule"
        super().__init__(
            f"{who} decided this already: the call is {status}.",
            status_now=status,
            decided_by=by,
            decided_at=at.isoformat() if at else None,
        )


class ArgumentsInvalid(Invalid):
    code = "arguments_invalid"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, field="parameters")


class RefusedByRule(Conflict):
    """The arguments as the person edited them; what the model asked for was asked about."""

    code = "refused_by_rule"


class ToolGone(Conflict):
    """It was offered when the model asked for it, and is not there any more or not the same."""

    code = "tool_gone"

    def __init__(self, name: str) -> None:
        super().__init__(f"The tool {name} is not there any more, or has changed. Ask the model anew.")


class TooManyRules(Conflict):
    code = "too_many_rules"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} rules already. Take some away first.", limit=limit)


class ToolServerNotFound(NotFound):
    code = "tool_server_not_found"


class ToolServerExists(Conflict):
    code = "tool_server_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a server called {name} already. Choose another name.", field="name")


class ToolServerInvalid(Invalid):
    code = "tool_server_invalid"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, field=field)


class QuestionGone(Conflict):
    """It was answered already, or the call that asked it is over."""

    code = "question_gone"

    def __init__(self) -> None:
        super().__init__("This was answered already, or the tool does not wait for it any more.")


class ToolSignInFailed(Invalid):
    """Signing in to a server did not come about; the sentence says why, and nothing was kept of it."""

    code = "tool_sign_in_failed"


class ToolSignInGone(Conflict):
    """The browser came back with a sign-in that is over, or that another sign-in of the person's began."""

    code = "tool_sign_in_gone"

    def __init__(self) -> None:
        super().__init__(
            "This sign-in is over, or was begun elsewhere. Begin it again at the server (Settings, Tools)."
        )
