"""Check the recorded run streams, which the web reducer also replays: valid events, and the stored text."""

import json
from pathlib import Path

import pytest

from tertulia.runs.schemas import RUN_EVENT

STREAMS = sorted((Path(__file__).parents[1] / "streams").glob("*.jsonl"))


@pytest.mark.parametrize("stream", STREAMS, ids=lambda path: path.stem)
def test_the_deltas_of_a_recorded_stream_add_up_to_the_stored_message(stream: Path) -> None:
    events = [json.loads(line) for line in stream.read_text().splitlines()]
    texts: dict[int, str] = {}
    for event in events:
        RUN_EVENT.validate_python(event)
        if event["type"] in ("run.started", "message.reset"):
            texts = {}
        elif event["type"] in ("text.delta", "reasoning.delta"):
            texts[event["part_index"]] = texts.get(event["part_index"], "") + event["text"]
    message = next(event["message"] for event in events if event["type"] == "message.finished")
    assert [part["text"] for part in message["parts"]] == [texts[index] for index in sorted(texts)]
    assert [event["type"] for event in events][-1] in ("run.finished", "run.failed")
