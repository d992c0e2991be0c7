"""Check that the web's generated client and the tables of providers match the code. `make api` regenerates them."""

import subprocess
import sys
from pathlib import Path

import export_openapi
import export_providers

GENERATED = (
    "web/src/api/generated/openapi.json",
    "web/src/api/generated/schema.ts",
    "docs/reference/providers.md",
)


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    before = {name: (root / name).read_bytes() for name in GENERATED}
    export_openapi.main()
    export_providers.main()
    process = subprocess.run(
        [
            sys.executable,
            "scripts/build_web.py",
            "npx",
            "openapi-typescript",
            "src/api/generated/openapi.json",
            "-o",
            "src/api/generated/schema.ts",
        ],
        cwd=root,
        capture_output=True,
        check=False,
    )
    stale = [name for name in GENERATED if (root / name).read_bytes() != before[name]]
    for name, content in before.items():
        (root / name).write_bytes(content)
    if process.returncode != 0 or stale:
        print(f"Out of date: {', '.join(stale) or process.stderr.decode()}. Run `make api`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
