"""Run a module of this package on an untrusted file, in a separate process."""

import asyncio
import sys
from pathlib import Path


async def run_child(module: str, *arguments: str, folder: Path, seconds: float) -> bool:
    """Run a module and return whether it ended in time. It gets a minimal environment, and no output is kept."""
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
