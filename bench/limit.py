"""Serve the limit: bare ASGI, raw sqlite3 on the event loop, one encoder. It has no checks and no layers.

It answers the same requests on the same data, including the session look-up and the columns that a list shows.
"""

import hashlib
import sqlite3
import sys
import time
import uuid

import orjson
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

CHATS = """SELECT c.id, c.title, c.provider, c.model_name, c.system_prompt, c.settings, c.is_archived, c.head_message_id,
  c.message_count, c.last_message_at, c.total_tokens, c.total_cost, c.created_at, c.updated_at, m.role, substr(m.content, 1, 160)
  FROM chat c LEFT JOIN message m ON m.id = c.head_message_id
  WHERE c.user_id = ? AND c.is_archived = 0 AND c.deleted_at IS NULL ORDER BY c.last_message_at DESC, c.id DESC LIMIT 50"""
PAGE = """WITH RECURSIVE branch(id, depth) AS (
    SELECT head_message_id, 0 FROM chat WHERE id = ? UNION ALL
    SELECT m.previous_message_id, depth + 1 FROM message m JOIN branch b ON m.id = b.id
    WHERE m.previous_message_id IS NOT NULL AND depth < 49)
  SELECT m.id, m.chat_id, m.role, m.content, m.parts, m.status, m.user_id, m.previous_message_id, m.token_count,
    m.metadata, m.created_at, m.updated_at FROM branch b JOIN message m ON m.id = b.id ORDER BY depth"""
SESSION = "SELECT s.user_id FROM session s JOIN user u ON u.id = s.user_id WHERE s.token_hash = ? AND s.is_active"


def build(path: str) -> ASGIApp:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY", "cache_size=-16000"):
        connection.execute(f"PRAGMA {pragma}")

    def append(chat: bytes, user: bytes, body: bytes) -> dict[str, object]:
        content, message, now = orjson.loads(body)["content"], uuid.uuid4().bytes, time.time_ns() // 1000
        parts = orjson.dumps([{"type": "text", "text": content}]).decode()
        connection.execute("BEGIN IMMEDIATE")
        (head,) = connection.execute(
            "SELECT head_message_id FROM chat WHERE id = ? AND user_id = ?", (chat, user)
        ).fetchone()
        connection.execute(
            "INSERT INTO message (id, chat_id, user_id, role, status, previous_message_id, thread_level, metadata, "
            "edit_history, content, parts, created_at, updated_at) VALUES (?,?,?,'user','sent',?,0,'{}','[]',?,?,?,?)",
            (message, chat, user, head, content, parts, now, now),
        )
        connection.execute(
            "UPDATE chat SET head_message_id = ?, message_count = message_count + 1, last_message_at = ? WHERE id = ?",
            (message, now, chat),
        )
        connection.execute(
            "INSERT INTO change (owner_id, shared_id, topic, entity, entity_id, operation, payload, created_at) "
            "VALUES (?, ?, 'chat', 'message', ?, 'created', ?, ?)",
            (user, chat, message, parts, now),
        )
        connection.execute("COMMIT")
        return {"id": message.hex(), "content": content, "created_at": now}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        cookie = next(value for name, value in scope["headers"] if name == b"cookie").decode().partition("=")[2]
        (user,) = connection.execute(SESSION, (hashlib.sha256(cookie.encode()).digest(),)).fetchone()
        parts = scope["path"].split("/")
        if scope["method"] == "POST":
            answer: object = append(uuid.UUID(parts[4]).bytes, user, (await receive())["body"])
        elif len(parts) > 4:
            rows = connection.execute(PAGE, (uuid.UUID(parts[4]).bytes,)).fetchall()
            answer = [
                [*(v.hex() if isinstance(v, bytes) else v for v in row[:4]), orjson.Fragment(row[4]), row[5]]
                + [v.hex() if isinstance(v, bytes) else v for v in row[6:]]
                for row in rows
            ]
        else:
            rows = connection.execute(CHATS, (user,)).fetchall()
            answer = [[v.hex() if isinstance(v, bytes) else v for v in row] for row in rows]
        body = orjson.dumps(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


if __name__ == "__main__":
    uvicorn.run(build(sys.argv[1]), port=int(sys.argv[2]), log_config=None, access_log=False, lifespan="off")
