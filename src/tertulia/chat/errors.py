"""How chats fail."""

from tertulia.errors import Conflict, Forbidden, Invalid, NotFound


class ChatNotFound(NotFound):
    code = "chat_not_found"


class MessageNotFound(NotFound):
    code = "message_not_found"


class NotYourChat(Forbidden):
    """It can be seen, and its owner alone does this."""

    code = "not_your_chat"

    def __init__(self, detail: str = "Only the owner of this chat can do that.") -> None:
        super().__init__(detail)


class NotYourMessage(Forbidden):
    code = "not_your_message"

    def __init__(self) -> None:
        super().__init__("Only its author or the owner of the chat can do that to a message.")


class EmptyMessage(Invalid):
    code = "empty_message"

    def __init__(self) -> None:
        super().__init__("A message needs words, or at least one part.", field="content")


class MessageTooLong(Invalid):
    code = "message_too_long"

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(
            f"The message has {length:,} characters; {limit:,} are the most. Send the rest as a second message.",
            field="content",
            limit=limit,
        )


class NotInChat(Invalid):
    """A message named beside a chat is not one of its messages."""

    code = "message_not_in_chat"

    def __init__(self, field: str) -> None:
        super().__init__("This message is not one of the chat's.", field=field)


class ThreadTooDeep(Invalid):
    code = "thread_too_deep"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"Replies to replies go {limit} levels deep. Answer within this thread.",
            field="parent_message_id",
            limit=limit,
        )


class TooManyPinned(Invalid):
    code = "too_many_pinned"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} messages of a chat are pinned for models already. Let one go first.",
            field="context_rule",
            limit=limit,
        )


class ShareTheDraft(Invalid):
    code = "share_the_draft"

    def __init__(self) -> None:
        super().__init__("This chat belongs to a draft. Share the draft: its chats go with it.")


class NotAnEmoji(Invalid):
    code = "not_an_emoji"

    def __init__(self) -> None:
        super().__init__("A reaction is one emoji.", field="emoji")


class TooManyReactions(Invalid):
    code = "too_many_reactions"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} reactions of one person on a message are the most.", field="emoji", limit=limit)


class TagNotFound(NotFound):
    code = "tag_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such tag, or it is not yours.")


class TagExists(Conflict):
    code = "tag_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a tag {name} already. Choose another name, or merge the two.", field="name")


class TooManyTags(Invalid):
    code = "too_many_tags"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} tags are the most. Merge or delete some.", limit=limit)


class StillWriting(Conflict):
    code = "message_still_writing"

    def __init__(self) -> None:
        super().__init__("This reply is still being written. Stop it first, or wait.")


class UnstorableText(Invalid):
    code = "unstorable_text"

    def __init__(self) -> None:
        super().__init__("The character U+0000 cannot be stored. Remove it.", field="content")


class StateInvalid(Invalid):
    code = "state_invalid"


class StateTooLarge(Invalid):
    code = "state_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The state of a chat may have {limit:,} bytes of JSON at most.", field="state", limit=limit)
