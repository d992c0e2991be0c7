"""Errors of tools, tool calls and tool servers."""

from datetime import datetime

from tertulia.errors import Conflict, Forbidden, Invalid, NotFound


class ToolExecutionNotFound(NotFound):
    code = "tool_execution_not_found"


class NotYoursToDecide(Forbidden):
    code = "not_yours_to_decide"

    def __init__(self) -> None:
        super().__init__("Only the person who asked the model can decide about its tool calls.")


class AlreadyDecided(Conflict):
    """Another person or window decided first. That decision is kept."""

    code = "already_decided"

    def __init__(self, status: str, by: str | None, at: datetime | None) -> None:
        who = by or "the time limit" if status == "timeout" else by or "a rule"
        super().__init__(
            f"This call was already decided by {who}. Its status is {status}.",
            status_now=status,
            decided_by=by,
            decided_at=at.isoformat() if at else None,
        )


class ArgumentsInvalid(Invalid):
    code = "arguments_invalid"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, field="parameters")


class RefusedByRule(Conflict):
    """A rule refuses the arguments as edited. The model's arguments only needed approval."""

    code = "refused_by_rule"


class ToolGone(Conflict):
    """The tool was offered when the model called it, but has since been removed or changed."""

    code = "tool_gone"

    def __init__(self, name: str) -> None:
        super().__init__(f"The tool {name} is no longer available, or has changed. Ask the model again.")


class TooManyRules(Conflict):
    code = "too_many_rules"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are already {limit} rules, which is the limit. Remove some first.", limit=limit)


class ToolServerNotFound(NotFound):
    code = "tool_server_not_found"


class ToolServerExists(Conflict):
    code = "tool_server_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"A server named {name} already exists. Choose another name.", field="name")


class ToolServerInvalid(Invalid):
    code = "tool_server_invalid"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, field=field)


class QuestionGone(Conflict):
    """The question was already answered, or its call has ended."""

    code = "question_gone"

    def __init__(self) -> None:
        super().__init__("This question was already answered, or the tool no longer waits for it.")


class ToolSignInFailed(Invalid):
    """Signing in to a server failed. `detail` gives the reason. Nothing was stored."""

    code = "tool_sign_in_failed"


class ToolSignInGone(Conflict):
    """The browser returned with a sign-in that is over, or that another session of the person started."""

    code = "tool_sign_in_gone"

    def __init__(self) -> None:
        super().__init__(
            "This sign-in has ended, or was started elsewhere. Start it again at the server (Settings, Tools and approvals)."
        )
