"""Errors of chats, messages, reactions and tags."""

from tertulia.errors import Conflict, Forbidden, Invalid, NotFound


class ChatNotFound(NotFound):
    code = "chat_not_found"


class MessageNotFound(NotFound):
    code = "message_not_found"


class NotYourChat(Forbidden):
    """The actor may read the chat, but only its owner may do this."""

    code = "not_your_chat"

    def __init__(self, detail: str = "Only the owner of this chat can do that.") -> None:
        super().__init__(detail)


class NotMovable(Conflict):
    code = "not_movable"

    def __init__(self) -> None:
        super().__init__("A channel stays in its project, and a chat about a draft with the draft.")


class TooManyOpenChats(Conflict):
    code = "too_many_open_chats"

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit:,} chats of a project can be open to its members.", limit=limit)


class ChannelHasNoBranches(Conflict):
    """In a channel each message follows the one before it, for everyone."""

    code = "channel_has_no_branches"

    def __init__(self) -> None:
        super().__init__(
            "In a channel, messages follow one another. Send it without a place, or edit a message in place."
        )


class NotYourMessage(Forbidden):
    code = "not_your_message"

    def __init__(self) -> None:
        super().__init__("Only the author of this message or the owner of the chat can do that.")


class EmptyMessage(Invalid):
    code = "empty_message"

    def __init__(self) -> None:
        super().__init__("A message needs text or at least one part.", field="content")


class MessageTooLong(Invalid):
    code = "message_too_long"

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(
            f"The message has {length:,} characters; the limit is {limit:,}. Send the rest as a second message.",
            field="content",
            limit=limit,
        )


class NotInChat(Invalid):
    """A message named in a request does not belong to the chat."""

    code = "message_not_in_chat"

    def __init__(self, field: str) -> None:
        super().__init__("This message does not belong to the chat.", field=field)


class ThreadTooDeep(Invalid):
    code = "thread_too_deep"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"Threads can be at most {limit} levels deep. Reply within this thread.",
            field="parent_message_id",
            limit=limit,
        )


class TooManyPinned(Invalid):
    code = "too_many_pinned"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"At most {limit} messages of a chat can be pinned. Unpin a message first.",
            field="context_rule",
            limit=limit,
        )


class ShareTheDraft(Invalid):
    code = "share_the_draft"

    def __init__(self) -> None:
        super().__init__("This chat belongs to a draft. Share the draft to share its chats.")


class ShareTheProject(Invalid):
    """What members write in a channel was written for the members."""

    code = "share_the_project"

    def __init__(self) -> None:
        super().__init__("The members of its project read this channel. Invite people to the project instead.")


class NotAnEmoji(Invalid):
    code = "not_an_emoji"

    def __init__(self) -> None:
        super().__init__("A reaction must be a single emoji.", field="emoji")


class TooManyReactions(Invalid):
    code = "too_many_reactions"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"You can add at most {limit} reactions to a message. Remove one first.", field="emoji", limit=limit
        )


class TagNotFound(NotFound):
    code = "tag_not_found"

    def __init__(self) -> None:
        super().__init__("This tag does not exist, or it is not yours.")


class TagExists(Conflict):
    code = "tag_exists"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"A tag named {name} already exists. Choose another name, or merge the two tags.", field="name"
        )


class TooManyTags(Invalid):
    code = "too_many_tags"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You can have at most {limit} tags. Merge or delete some.", limit=limit)


class StillWriting(Conflict):
    code = "message_still_writing"

    def __init__(self) -> None:
        super().__init__("This reply is still being written. Stop it first, or wait until it is finished.")


class UnstorableText(Invalid):
    code = "unstorable_text"

    def __init__(self) -> None:
        super().__init__("The character U+0000 cannot be stored. Remove it.", field="content")


class StateInvalid(Invalid):
    code = "state_invalid"


class StateTooLarge(Invalid):
    code = "state_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The state of a chat can have at most {limit:,} bytes of JSON.", field="state", limit=limit)
