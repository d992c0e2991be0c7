"""How runs fail."""

from tertulia.errors import Conflict, Invalid, NotFound, TooMany


class RunNotFound(NotFound):
    code = "run_not_found"


class TooManyRuns(TooMany):
    code = "too_many_runs"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} of your replies wait already. Nothing was stored; send this again when one is done.",
            retry_after_s=5,
            limit=limit,
        )


class NotAReply(Invalid):
    code = "not_a_reply"

    def __init__(self) -> None:
        super().__init__("Only a model's reply to a message can be written again.", field="message_id")


class NothingToContinue(Conflict):
    code = "nothing_to_continue"

    def __init__(self) -> None:
        super().__init__("Only a reply that was interrupted can be continued.")


class CostLimit(Conflict):
    code = "cost_limit"

    def __init__(self) -> None:
        super().__init__(
            "To read what its tools gave, the model would cost more than your limit for an hour leaves. Wait a while, or raise it "
            "in the settings of tools, and continue."
        )


class TooManyToolCalls(Conflict):
    code = "too_many_tool_calls"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The model called tools {limit} times, which is as often as one reply may. Continue to let it go on.",
            limit=limit,
        )


class CancelRequested(Conflict):
    """Somebody wants the run stopped, and this process has not heard of it yet."""

    code = "cancel_requested"

    def __init__(self) -> None:
        super().__init__("This run is to be stopped.")


class LeaseLost(Conflict):
    """Another process has taken this run over, or it is gone: whatever this one still has of it must not be written."""

    code = "lease_lost"

    def __init__(self) -> None:
        super().__init__("This run belongs to another process now.")


class OptimizationNotFound(NotFound):
    code = "optimization_not_found"


class NothingToShorten(Conflict):
    code = "nothing_to_shorten"

    def __init__(self) -> None:
        super().__init__(
            "There is nothing that would take fewer tokens so. The last question and what is pinned always stay."
        )


class SummaryUnderWay(Conflict):
    code = "summary_under_way"

    def __init__(self) -> None:
        super().__init__("A summary of this chat is being written already. Wait until it is there.")


class SummaryFailed(Conflict):
    code = "summary_failed"
