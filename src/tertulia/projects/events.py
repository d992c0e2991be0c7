"""The entities of projects: the kinds of objects whose changes are published."""

from collections.abc import Mapping
from typing import Any

from tertulia.realtime.entities import Entity

# Members fetch what changed: each sees another role.
PROJECT: Entity[Mapping[str, Any]] = Entity("project", is_shared=True)
ENTITIES = (PROJECT,)
