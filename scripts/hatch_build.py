"""Include the built web pages in wheels and sdists, as a Hatchling hook."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WebBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - part of the interface
        if version == "editable":  # `make run` builds the pages itself, and reports it
            return
        sys.path.insert(0, str(Path(self.root) / "scripts"))
        from build_web import build_web

        build_web(Path(self.root))
