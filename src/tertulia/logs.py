"""Write logs as one JSON object per line, without bodies, prompts, tokens, cookies or query strings."""

import logging
import re
import sys

import orjson

from tertulia import clock

_OURS = ("request_id", "run_id", "method", "path", "status", "ms")
_SECRETS = re.compile(
    r"(\b(?:sk-|tta_|gsk_|xai-|hf_|AIza|nvapi-|csk-|fw_|tgp_|github_pat_|ghp_)|Bearer\s+)[A-Za-z0-9_\-.]{6,}|(://[^/:@\s]+:)[^@/\s]+@"
)


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": clock.now().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        line |= {name: getattr(record, name) for name in _OURS if hasattr(record, name)}
        if record.exc_info:
            line["trace"] = mask(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


def mask(text: str) -> str:
    """Mask known shapes of secrets."""
    return _SECRETS.sub(lambda match: f"{match[1] or match[2] or ''}…", text)


def configure_logs(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "asyncio", "uvicorn", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # They log URLs that contain keys, and parts of bodies in errors. The caller logs failures itself.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
