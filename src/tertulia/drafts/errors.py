"""Errors of drafts."""

from tertulia.drafts.text import Merged
from tertulia.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionRequired


class DraftNotFound(NotFound):
    code = "draft_not_found"


class NotYourDraft(Forbidden):
    """The actor can read the draft, but only its owner may do this."""

    code = "not_your_draft"

    def __init__(self) -> None:
        super().__init__("Only the owner of this draft can do that.")


class AttachedToItself(Invalid):
    code = "draft_of_this_chat"

    def __init__(self) -> None:
        super().__init__("This chat is about that draft, so its prompts already include it.")


class TooManyAttached(Invalid):
    code = "too_many_drafts_attached"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A chat can have at most {limit} attached drafts. Remove one first.", limit=limit)


class VersionNotFound(NotFound):
    code = "draft_version_not_found"


class DraftTooLong(Invalid):
    code = "draft_too_long"

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(
            f"The text would have {length:,} characters. The limit is {limit:,}. Move a part of it into another draft.",
            field="content",
            limit=limit,
        )


class VersionConflict(Conflict):
    """Both sides changed the same text. `merged` has the merged text, and both sides of each conflict."""

    code = "draft_version_conflict"

    def __init__(self, *, current: int, merged: Merged, revision: int | None = None) -> None:
        super().__init__(
            "The same text was changed here and elsewhere. Choose one side for each conflict, then save again.",
            version_number=current,
            revision=revision,
            merged=merged,
        )


class DraftChanged(Conflict):
    code = "draft_changed"

    def __init__(self) -> None:
        super().__init__("The title or description was changed elsewhere. Check the changes, then save again.")


class IfMatchMissing(PreconditionRequired):
    code = "if_match_missing"

    def __init__(self) -> None:
        super().__init__("Send the header If-Match with the ETag of the draft that you read.")


class ProposalNotFound(NotFound):
    code = "proposal_not_found"


class ProposalStillWritten(Conflict):
    code = "proposal_still_written"

    def __init__(self) -> None:
        super().__init__("The model is still writing this proposal. Wait until it has finished, or stop it.")


class EditNotInProposal(Invalid):
    code = "edit_not_in_proposal"

    def __init__(self) -> None:
        super().__init__("An edit is not part of this proposal. Read the proposal again.", field="edit_ids")


class SelectionOutside(Invalid):
    code = "selection_outside"

    def __init__(self) -> None:
        super().__init__("The selection is outside the text of that version. Select it again.", field="selection")


class NotADraftsChat(Invalid):
    code = "not_a_drafts_chat"

    def __init__(self) -> None:
        super().__init__("This chat is not about the draft. Choose one of the draft's chats.", field="chat_id")


class NothingToPropose(Invalid):
    code = "nothing_to_propose"

    def __init__(self) -> None:
        super().__init__("The text to change is not in the draft, or the edits change nothing. Read the draft first.")
