"""Errors of runs."""

from tertulia.errors import Conflict, Invalid, NotFound, TooMany


class RunNotFound(NotFound):
    code = "run_not_found"


class TooManyRuns(TooMany):
    code = "too_many_runs"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} of your replies are already queued. Nothing was stored. Send this again when one has finished.",
            retry_after_s=5,
            limit=limit,
        )


class NotAReply(Invalid):
    code = "not_a_reply"

    def __init__(self) -> None:
        super().__init__("Only a model's reply to a message can be regenerated.", field="message_id")


class NothingToContinue(Conflict):
    code = "nothing_to_continue"

    def __init__(self) -> None:
        super().__init__("Only a reply that was interrupted can be continued.")


class CostLimit(Conflict):
    code = "cost_limit"

    def __init__(self) -> None:
        super().__init__(
            "Reading the tool results could cost more than is left of your hourly limit. Wait, or raise the limit in "
            "the tool settings, then continue."
        )


class TooManyToolCalls(Conflict):
    code = "too_many_tool_calls"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The model called tools {limit} times, the limit for one reply. Continue the reply to allow more calls.",
            limit=limit,
        )


class FileLost(Conflict):
    """The model made a picture or sound that cannot be stored. The rest of the reply is kept."""

    code = "file_lost"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The model made a file that could not be kept. {reason}")


class CancelRequested(Conflict):
    """Cancellation was requested, and the process that executes the run notices it only now."""

    code = "cancel_requested"

    def __init__(self) -> None:
        super().__init__("Cancellation of this run was requested.")


class LeaseLost(Conflict):
    """Another process took over this run, or it was deleted. This process must not write to it any more."""

    code = "lease_lost"

    def __init__(self) -> None:
        super().__init__("This run was taken over by another process.")


class CompactionNotFound(NotFound):
    code = "optimization_not_found"


class NothingToCompact(Conflict):
    code = "nothing_to_shorten"

    def __init__(self) -> None:
        super().__init__("Nothing can be compacted this way. The last question and pinned messages are always kept.")


class SummaryInProgress(Conflict):
    code = "summary_under_way"

    def __init__(self) -> None:
        super().__init__("A summary of this chat is already being written. Wait until it is finished.")


class SummaryFailed(Conflict):
    code = "summary_failed"
