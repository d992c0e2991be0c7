"""Errors of projects."""

from tertulia.errors import Conflict, Forbidden, Invalid, NotFound


class ProjectNotFound(NotFound):
    code = "project_not_found"


class NotYourProject(Forbidden):
    """The actor belongs to the project, but only its owner may do this."""

    code = "not_your_project"

    def __init__(self) -> None:
        super().__init__("Only the owner of this project can do that.")


class ReadOnlyProject(Forbidden):
    """The actor is a viewer, or the project is archived."""

    code = "read_only_project"

    def __init__(self) -> None:
        super().__init__("You may only read in this project.")


class ChannelNotFound(NotFound):
    code = "channel_not_found"


class ChannelNameTaken(Conflict):
    code = "channel_name_taken"

    def __init__(self) -> None:
        super().__init__("This project has a channel of this name, perhaps in the trash. Choose another name.")


class LastChannel(Conflict):
    code = "last_channel"

    def __init__(self) -> None:
        super().__init__("A project keeps one channel. Create another one first.")


class TooManyChannels(Conflict):
    code = "too_many_channels"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A project can have at most {limit} channels. Those in the trash count.", limit=limit)


class MemberUnknown(Invalid):
    code = "member_unknown"

    def __init__(self) -> None:
        super().__init__("There is no user with this name. Check the spelling.", field="username")


class AlreadyMember(Conflict):
    code = "already_member"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is a member already.")


class OwnerStays(Conflict):
    code = "owner_stays"

    def __init__(self) -> None:
        super().__init__("A project needs an owner. Make another member the owner first.")


class TooManyMembers(Conflict):
    code = "too_many_members"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A project can have at most {limit:,} members.", limit=limit)


class TooManyProjects(Conflict):
    code = "too_many_projects"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You can own at most {limit} projects. Those in the trash count.", limit=limit)


class TooManyMemberships(Conflict):
    code = "too_many_memberships"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A person can belong to at most {limit:,} projects. Those in the trash count.", limit=limit)
