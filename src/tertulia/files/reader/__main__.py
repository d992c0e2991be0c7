"""`python -m tertulia.files.reader FILE MEDIA_TYPE FOLDER`: write the results to the folder, `result.json` last.

It is started by files/processing.py. If it exceeds the limits of memory or time, only this file cannot be read.
"""

import json
import resource
import sys
from pathlib import Path

from tertulia.files.reader.documents import Unreadable, read_document
from tertulia.files.reader.pictures import read_picture
from tertulia.files.reader.texts import cut, read_text

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_S = 40
OUTPUT_BYTES = 64 * 1024 * 1024


def main(file: Path, media_type: str, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    result: dict[str, object]
    try:
        result = look_into(file, media_type, folder)
    except Unreadable as error:
        result = {"problem": str(error)}
    except (MemoryError, RecursionError):
        result = {"problem": "It is too large to read."}
    except Exception:
        # Libraries raise many kinds of errors for broken files. Their messages do not help a person.
        result = {"problem": "It is damaged or not of the type that its name says."}
    (folder / "result.json").write_text(json.dumps(result))


def look_into(file: Path, media_type: str, folder: Path) -> dict[str, object]:
    if media_type.startswith("image/") and media_type != "image/svg+xml":
        return read_picture(file, folder)
    if media_type.startswith(("audio/", "video/")):
        return _read_sound(file)
    if media_type == "application/zip":
        return {}
    if media_type.startswith("application/") and media_type not in (
        "application/json",
        "application/yaml",
        "application/xml",
    ):
        result, text = read_document(file, media_type, folder)
    else:
        result, text = read_text(file, media_type)
    if text.strip():
        text, is_cut = cut(text)
        (folder / "text").write_text(text, encoding="utf-8")
        result |= {"text_length": len(text)} | ({"is_text_cut": True} if is_cut else {})
    return result


def _read_sound(file: Path) -> dict[str, object]:
    from tinytag import TinyTag, TinyTagException

    try:
        with file.open("rb") as opened:
            duration = TinyTag.get(file_obj=opened).duration
    except TinyTagException:  # an unknown container, such as WebM: no duration
        return {}
    return {"duration": round(duration, 3)} if duration else {}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
