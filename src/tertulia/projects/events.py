"""The entities of projects: the kinds of objects whose changes are published."""

from collections.abc import Mapping
from typing import Any

from tertulia.projects.schemas import ChannelRead
from tertulia.realtime.entities import Entity

# Members fetch what changed: each sees another role.
PROJECT: Entity[Mapping[str, Any]] = Entity("project", is_shared=True)
# What a person chose for a channel and how far they read it, for their other windows.
CHANNEL = Entity("channel", ChannelRead)
ENTITIES = (PROJECT, CHANNEL)
