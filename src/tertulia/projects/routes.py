"""Routes for projects, their members, and the chats in them."""

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.streams import OpenStreams
from tertulia.chat.schemas import ChatRead
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes, service_of
from tertulia.ids import ChannelId, ChatId, MessageId, ProjectId, UserId
from tertulia.projects import channels, members, service, unread
from tertulia.projects.models import ProjectStatus
from tertulia.projects.schemas import (
    ChannelCreate,
    ChannelList,
    ChannelMuted,
    ChannelRead,
    ChannelUpdate,
    ChatInProject,
    MemberCreate,
    MemberRead,
    MemberUpdate,
    ProjectCreate,
    ProjectList,
    ProjectRead,
    ProjectUpdate,
    ReadUntil,
)

routes = Routes("projects")


@routes.add("GET", "/projects", access=Access.SIGNED_IN, gives=ProjectList)
async def get_projects(
    caller: CallerDep,
    status: Annotated[ProjectStatus, Query(description="`deleted`: those in your trash.")] = ProjectStatus.ACTIVE,
) -> Response:
    """List the projects that you belong to, by name."""
    return json_response({"items": await caller.read(service.list_projects, status=status)})


@routes.add("POST", "/projects", access=Access.SIGNED_IN, gives=ProjectRead, status=201, problems=(409,))
async def post_project(caller: CommandDep, new: ProjectCreate) -> Response:
    """Create a project with its channel `general`."""
    return await caller.command(201, service.create_project, new, caller.service(RowLimits))


@routes.add("GET", "/projects/{project_id}", access=Access.SIGNED_IN, gives=ProjectRead, problems=(404,))
async def get_project(caller: CallerDep, project_id: ProjectId) -> Response:
    return json_response(await caller.read(service.get_project, project_id))


@routes.add("PATCH", "/projects/{project_id}", access=Access.SIGNED_IN, gives=ProjectRead, problems=(404,))
async def patch_project(
    request: Request, caller: CommandDep, project_id: ProjectId, changes: ProjectUpdate
) -> Response:
    """Change a project of yours, or archive it: then its members only read."""
    changed = await caller.command(200, service.update_project, project_id, changes)
    await service_of(request, OpenStreams).check_now()
    return changed


@routes.add("DELETE", "/projects/{project_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_project(request: Request, caller: CommandDep, project_id: ProjectId) -> Response:
    """Move a project of yours to the trash. Its members lose access at once."""
    deleted = await caller.command(204, service.delete_project, project_id)
    await service_of(request, OpenStreams).check_now()
    return deleted


@routes.add("POST", "/projects/{project_id}/restore", access=Access.SIGNED_IN, gives=ProjectRead, problems=(404,))
async def post_project_restore(caller: CommandDep, project_id: ProjectId) -> Response:
    """Restore a project from the trash, with its members and chats."""
    return await caller.command(200, service.restore_project, project_id)


@routes.add(
    "PUT",
    "/projects/{project_id}/chats/{chat_id}",
    access=Access.SIGNED_IN,
    gives=ChatRead,
    problems=(404,),
)
async def put_project_chat(
    request: Request, caller: CommandDep, project_id: ProjectId, chat_id: ChatId, placed: ChatInProject
) -> Response:
    """Move a chat of yours into a project, and open it to the members or not."""
    moved = await caller.command(200, service.put_chat, project_id, chat_id, is_open=placed.is_open_to_project)
    await service_of(request, OpenStreams).check_now()
    return moved


@routes.add(
    "DELETE", "/projects/{project_id}/chats/{chat_id}", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,)
)
async def delete_project_chat(request: Request, caller: CommandDep, project_id: ProjectId, chat_id: ChatId) -> Response:
    """Take a chat of yours out of a project."""
    moved = await caller.command(200, service.take_chat_out, project_id, chat_id)
    await service_of(request, OpenStreams).check_now()
    return moved


# ---- channels


@routes.add("GET", "/channels", access=Access.SIGNED_IN, gives=ChannelList)
async def get_all_channels(caller: CallerDep) -> Response:
    """List the channels of all your projects, with what is new to you."""
    return json_response({"items": await caller.read_long(unread.list_all_channels)})


@routes.add("GET", "/projects/{project_id}/channels", access=Access.SIGNED_IN, gives=ChannelList, problems=(404,))
async def get_channels(
    caller: CallerDep,
    project_id: ProjectId,
    deleted: Annotated[bool, Query(description="List those in the trash, for the owner of the project.")] = False,
) -> Response:
    return json_response({"items": await caller.read(channels.list_channels, project_id, in_trash=deleted)})


@routes.add(
    "POST",
    "/projects/{project_id}/channels",
    access=Access.SIGNED_IN,
    gives=ChannelRead,
    status=201,
    problems=(404, 409),
)
async def post_channel(request: Request, caller: CommandDep, project_id: ProjectId, new: ChannelCreate) -> Response:
    """Create a channel for all members of a project. Names are unique in it."""
    created = await caller.command(201, channels.create_channel, project_id, new, caller.service(RowLimits))
    await service_of(request, OpenStreams).check_now()
    return created


@routes.add("GET", "/channels/{channel_id}", access=Access.SIGNED_IN, gives=ChannelRead, problems=(404,))
async def get_channel(caller: CallerDep, channel_id: ChannelId) -> Response:
    return json_response(await caller.read(channels.get_channel, channel_id))


@routes.add("PATCH", "/channels/{channel_id}", access=Access.SIGNED_IN, gives=ChannelRead, problems=(404, 409))
async def patch_channel(caller: CommandDep, channel_id: ChannelId, changes: ChannelUpdate) -> Response:
    """Rename a channel, or change its topic."""
    return await caller.command(200, channels.update_channel, channel_id, changes)


@routes.add("DELETE", "/channels/{channel_id}", access=Access.SIGNED_IN, status=204, problems=(404, 409))
async def delete_channel(request: Request, caller: CommandDep, channel_id: ChannelId) -> Response:
    """Move a channel of your project to the trash, for thirty days."""
    deleted = await caller.command(204, channels.delete_channel, channel_id)
    await service_of(request, OpenStreams).check_now()
    return deleted


@routes.add("POST", "/channels/{channel_id}/restore", access=Access.SIGNED_IN, gives=ChannelRead, problems=(404,))
async def post_channel_restore(request: Request, caller: CommandDep, channel_id: ChannelId) -> Response:
    """Bring a channel of your project back from the trash."""
    restored = await caller.command(200, channels.restore_channel, channel_id)
    await service_of(request, OpenStreams).check_now()
    return restored


@routes.add("PUT", "/channels/{channel_id}/read", access=Access.SIGNED_IN, gives=ChannelRead, problems=(404,))
async def put_read(caller: CommandDep, channel_id: ChannelId, read: ReadUntil) -> Response:
    """Keep how far you have read a channel, for all of your devices."""
    return await caller.command(200, channels.read_until, channel_id, MessageId(read.message_id))


@routes.add("PUT", "/channels/{channel_id}/muted", access=Access.SIGNED_IN, gives=ChannelRead, problems=(404,))
async def put_muted(caller: CommandDep, channel_id: ChannelId, muted: ChannelMuted) -> Response:
    """Mute a channel, so that you hear only of mentions in it, or unmute it."""
    return await caller.command(200, channels.set_muted, channel_id, is_muted=muted.is_muted)


# ---- members


@routes.add("GET", "/projects/{project_id}/members", access=Access.SIGNED_IN, gives=Page[MemberRead], problems=(404,))
async def get_members(
    caller: CallerDep, project_id: ProjectId, limit: Limit = 50, cursor: CursorText = None
) -> Response:
    cursors = caller.service(Cursors)
    kind = f"members.{project_id}"
    rows = await caller.read(members.list_members, project_id, after=cursors.decode_id(kind, cursor), limit=limit + 1)
    shown = rows[:limit]
    next_cursor = cursors.encode(kind, [shown[-1]["user_id"]]) if len(rows) > limit else None
    return json_response({"items": shown, "next_cursor": next_cursor})


@routes.add(
    "POST",
    "/projects/{project_id}/members",
    access=Access.SIGNED_IN,
    gives=MemberRead,
    status=201,
    problems=(404, 409),
)
async def post_member(caller: CommandDep, project_id: ProjectId, new: MemberCreate) -> Response:
    """Add a user to a project of yours, by name."""
    return await caller.command(201, members.add_member, project_id, new)


@routes.add(
    "PATCH",
    "/projects/{project_id}/members/{user_id}",
    access=Access.SIGNED_IN,
    gives=MemberRead,
    problems=(404, 409),
)
async def patch_member(
    request: Request, caller: CommandDep, project_id: ProjectId, user_id: UserId, changes: MemberUpdate
) -> Response:
    """Change the role of a member, or hand the project over."""
    changed = await caller.command(200, members.update_member, project_id, user_id, changes)
    await service_of(request, OpenStreams).check_now()
    return changed


@routes.add(
    "DELETE",
    "/projects/{project_id}/members/{user_id}",
    access=Access.SIGNED_IN,
    status=204,
    problems=(404, 409),
)
async def delete_member(request: Request, caller: CommandDep, project_id: ProjectId, user_id: UserId) -> Response:
    """Remove a member, or leave. What they wrote stays."""
    removed = await caller.command(204, members.remove_member, project_id, user_id)
    await service_of(request, OpenStreams).check_now()
    return removed
