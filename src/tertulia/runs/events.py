"""The entities of runs: the kinds of objects whose changes are published."""

from tertulia.realtime.entities import Entity
from tertulia.runs.schemas import RunRead

RUN = Entity("run", RunRead, is_shared=True)
ENTITIES = (RUN,)
