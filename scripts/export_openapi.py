"""Write the OpenAPI document from which the web's types are generated."""

import json
import tempfile
from pathlib import Path

from tertulia.app import create_app
from tertulia.openapi import build_openapi
from tertulia.settings import Settings


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data=Path(folder), local_model="none", embedding_model="none"))
        document = build_openapi(app)
    target = Path(__file__).resolve().parent.parent / "web/src/api/generated/openapi.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
