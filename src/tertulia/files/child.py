"""Running a module of ours on a file that anybody may have made, in a process of its own."""

import asyncio
import sys
from pathlib import Path


async def run_child(module: str, *arguments: str, folder: Path, seconds: float) -> bool:
    """Whether it ended in time. It gets no environment of ours, and what it says goes nowhere."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "LANG": "C.UTF-8"},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return True
