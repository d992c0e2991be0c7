"""How drafts fail."""

from tertulia.drafts.text import Merged
from tertulia.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionRequired


class DraftNotFound(NotFound):
    code = "draft_not_found"


class NotYourDraft(Forbidden):
    """It can be seen, and its owner alone does this."""

    code = "not_your_draft"

    def __init__(self) -> None:
        super().__init__("Only the owner of this draft can do that.")


class AttachedToItself(Invalid):
    code = "draft_of_this_chat"

    def __init__(self) -> None:
        super().__init__("This chat is about that draft: its models are told of it already.")


class TooManyAttached(Invalid):
    code = "too_many_drafts_attached"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} drafts of a chat are the most. Take one away first.", limit=limit)


class VersionNotFound(NotFound):
    code = "draft_version_not_found"


class DraftTooLong(Invalid):
    code = "draft_too_long"

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(
            f"Together the text has {length:,} characters; {limit:,} are the most. Put a part into a draft of its own.",
            field="content",
            limit=limit,
        )


class VersionConflict(Conflict):
    """Both sides changed the same words. `merged` has all that is clear, and both sides of what is not."""

    code = "draft_version_conflict"

    def __init__(self, *, current: int, merged: Merged, revision: int | None = None) -> None:
        super().__init__(
            "The same words were changed here and elsewhere. Choose for each place, and save again.",
            version_number=current,
            revision=revision,
            merged=merged,
        )


class DraftChanged(Conflict):
    code = "draft_changed"

    def __init__(self) -> None:
        super().__init__("Title or description were changed elsewhere. Look at them, and save again.")


class IfMatchMissing(PreconditionRequired):
    code = "if_match_missing"

    def __init__(self) -> None:
        super().__init__("Send If-Match with the ETag of the draft that you read.")


class ProposalNotFound(NotFound):
    code = "proposal_not_found"


class ProposalStillWritten(Conflict):
    code = "proposal_still_written"

    def __init__(self) -> None:
        super().__init__("The model still writes this proposal. Wait for it, or stop it.")


class SelectionOutside(Invalid):
    code = "selection_outside"

    def __init__(self) -> None:
        super().__init__("The selection does not lie within that version.", field="selection")


class NotADraftsChat(Invalid):
    code = "not_a_drafts_chat"

    def __init__(self) -> None:
        super().__init__("This chat is not about the draft.", field="chat_id")


class NothingToPropose(Invalid):
    code = "nothing_to_propose"

    def __init__(self) -> None:
        super().__init__(
            "None of the words to be changed are in the draft, or nothing of them would change. Read it first."
        )
