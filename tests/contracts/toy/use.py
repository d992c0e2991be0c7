"""Use the notes over HTTP, in a process that runs the changed copy of the source: `python use.py FOLDER`."""

import io
import json
import sys
import zipfile
from pathlib import Path

from sqlalchemy.orm import Session

from tertulia.clock import now
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.openapi import build_openapi
from tertulia.settings import Settings
from tests.factories.accounts import PASSWORD_HASH, make_user
from tests.fakes.live_server import Client, LiveServer
from tests.waiting import Listener


def main(folder: Path) -> None:
    settings = Settings(data=folder, local_model="none", embedding_model="none")
    upgrade_schema(settings, now=now())
    engine = plain_engine(settings)
    with Session(engine) as session:
        for name in ("ana", "bob"):
            make_user(session, username=name, name=name.title(), password_hash=PASSWORD_HASH)
        session.commit()
    engine.dispose()
    server = LiveServer(settings).start()
    ana, bob = (sign_in(server, name) for name in ("ana", "bob"))
    results: dict[str, object] = {}

    listener = Listener(ana)
    note = ana.api("POST", "/notes", json={"title": "Rye bread", "text": "Feed the starter."}, expect=201)
    results["list"] = ana.api("GET", "/notes")["items"] == [note]
    listener.wait_for(lambda: ("note", "created") in listener.changes)
    results["live"] = any(data.get("payload") == note for _, _, data in listener.heard)
    results["hidden"] = bob.api("GET", "/notes")["items"] == []
    results["search"] = [item["id"] for item in ana.api("GET", "/search?q=starter")["objects"]] == [note["id"]]
    results["search_hidden"] = bob.api("GET", "/search?q=starter")["objects"] == []

    share = {"shared_with_username": "bob", "permissions": {"can_read": True, "can_write": False, "can_share": False}}
    created = ana.api("POST", f"/notes/{note['id']}/shares", json=share, expect=201)
    results["shared"] = bob.api("GET", "/notes")["items"] == [note]
    ana.api("DELETE", f"/shares/{created['id']}", expect=204)
    results["revoked"] = bob.api("GET", "/notes")["items"] == []

    ana.api("POST", "/session/confirm", json={"password": "correct horse battery"}, expect=204)
    archive = zipfile.ZipFile(io.BytesIO(ana.get("/export").content))
    results["export"] = json.loads(archive.read(f"notes/{note['id']}.json")) == note

    results["anonymous"] = Client(server.url).get("/notes").status_code == 401
    document = build_openapi(server.app)
    results["document"] = "/api/v1/notes" in document["paths"] and "NoteChange" in document["components"]["schemas"]
    server.stop()
    print(json.dumps(results))


def sign_in(server: LiveServer, name: str) -> Client:
    client = Client(server.url)
    client.api("POST", "/session", json={"username": name, "password": "correct horse battery"}, expect=201)
    return client


if __name__ == "__main__":
    main(Path(sys.argv[1]))
