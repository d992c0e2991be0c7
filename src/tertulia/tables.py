"""Every table, so that migrations and tests see the whole schema: the `models` modules of all packages."""

import pkgutil
from importlib import import_module

import tertulia
from tertulia.db import Base

for _module in pkgutil.walk_packages(tertulia.__path__, "tertulia."):
    if _module.name.endswith(".models"):
        import_module(_module.name)

metadata = Base.metadata
