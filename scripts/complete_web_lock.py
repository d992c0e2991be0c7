"""Complete web/package-lock.json with packages of other platforms, which a partial registry omits.

`npm ci` rejects a lock without an optional dependency, even one that this platform never installs. An entry added here
has the exact version that its parent requires, and the platform in its name. It has no hash, so npm installs it by
version alone.
"""

import json
import re
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "web" / "package-lock.json"
SYSTEMS = ("android", "darwin", "freebsd", "linux", "openharmony", "openbsd", "netbsd", "sunos", "aix", "win32")
MACHINES = ("arm64", "x64", "arm", "ia32", "ppc64", "riscv64", "s390x", "loong64", "wasm32")


def main() -> None:
    lock = json.loads(LOCK.read_text())
    packages = lock["packages"]
    for parent in list(packages.values()):
        for name, wanted in parent.get("optionalDependencies", {}).items():
            if f"node_modules/{name}" in packages:
                continue
            words = re.split(r"[-/]", name)
            version = re.sub(r"^[\^~]", "", wanted)
            entry: dict[str, object] = {"version": version, "dev": True, "license": "MIT", "optional": True}
            entry["cpu"] = [word for word in words if word in MACHINES] or ["x64"]
            systems = [word for word in words if word in SYSTEMS]
            if systems:
                entry["os"] = systems
            if "musl" in words:
                entry["libc"] = ["musl"]
            packages[f"node_modules/{name}"] = entry
            print(f"added {name} {version}")
    lock["packages"] = dict(sorted(packages.items()))
    LOCK.write_text(json.dumps(lock, indent=2) + "\n")


if __name__ == "__main__":
    main()
