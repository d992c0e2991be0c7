"""The entities of imports: the kinds of objects whose changes are published."""

from tertulia.realtime.entities import Entity
from tertulia.transfer.schemas import ImportJobRead

IMPORT_JOB = Entity("import_job", ImportJobRead)
ENTITIES = (IMPORT_JOB,)
