"""Read an offline W&B run, and a W&B server on this machine for an online one."""

from __future__ import annotations

import gzip
import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, FIRST, LAST = 1, 2, 4


def records(path: Path) -> Iterator[Any]:
    """The protobuf records of a `.wandb` file: a LevelDB log behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # makes its classes as it is imported
    data, position, parts = path.read_bytes(), FILE_HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + HEADER])
        position += HEADER
        chunk = data[position : position + size]
        if len(chunk) < size:
            return  # cut off by a kill
        position += size
        parts = chunk if kind in (FULL, FIRST) else parts + chunk
        if kind in (FULL, LAST):
            record = messages.Record()
            record.ParseFromString(parts)
            yield record


class OfflineRun:
    """History rows, configuration and files of the one offline run under a folder."""

    def __init__(self, folder: Path) -> None:
        (self.path,) = folder.glob("wandb/offline-run-*/*.wandb")
        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.tags: list[str] = []
        self.group = ""
        for record in records(self.path):
            for source in (record.run.config, record.config):
                self.config.update(_items(source.update))
            self.tags = list(record.run.tags) or self.tags
            self.group = record.run.run_group or self.group
            if record.HasField("history"):
                self.history.append(_items(record.history.item))

    def row(self, key: str) -> dict[str, Any]:
        """The last row that has `key`."""
        return [row for row in self.history if key in row][-1]

    def file(self, name: str) -> Path:
        """A media file of the run."""
        return self.path.parent / "files" / name


def _items(items: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for item in items:
        *parents, key = item.nested_key or [item.key]
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[key] = json.loads(item.value_json)
    return tree


class FakeServer:
    """Answers what `wandb` asks a server for during a run, and keeps what it sends.

    Use as a context manager; `url` is the address, `received` maps file names to the bytes sent.
    """

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        self.history: list[dict[str, Any]] = []
        self.operations: list[str] = []
        self.completed = False
        self.exit_code: int | None = None
        outer = self

        class Handler(_Handler):
            server_state = outer

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        self._server: ThreadingHTTPServer | None = server

    def __enter__(self) -> FakeServer:
        assert self._server is not None
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Stop listening: every later connection is refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None


class _Handler(BaseHTTPRequestHandler):
    server_state: FakeServer

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""

    def do_POST(self) -> None:
        body = self._body()
        if self.path.startswith("/graphql"):
            asked = json.loads(body)
            self._answer({"data": self._graphql(asked["query"], asked.get("variables") or {})})
        else:
            if self.path.endswith("/file_stream"):
                self._stream(json.loads(body))
            self._answer({})

    def do_PUT(self) -> None:
        self.server_state.received[self.path.split("/store/")[-1]] = self._body()
        self._answer({})

    def do_GET(self) -> None:
        self._answer({})

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _answer(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, sent: dict[str, Any]) -> None:
        state = self.server_state
        for name, file in (sent.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                state.history.extend(json.loads(line) for line in file["content"])
        state.completed |= bool(sent.get("complete"))
        state.exit_code = sent.get("exitcode", state.exit_code)

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        state = self.server_state
        name = query.split("(")[0].split("{")[0].split()[-1]
        state.operations.append(name)
        project = {"id": "p", "name": "toy", "entity": {"id": "e", "name": "me"}}
        if name == "UpsertBucket":
            bucket = {"id": "b", "name": variables.get("name") or "run", "displayName": "run"}
            bucket |= {"config": "{}", "project": project, "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if name == "RunResumeStatus" and state.history:
            last = json.dumps(state.history[-1])
            counts = {"historyLineCount": len(state.history), "historyTail": json.dumps([last])}
            counts |= {"eventsLineCount": 0, "logLineCount": 0, "eventsTail": "[]", "tags": []}
            known: dict[str, Any] = {"id": "b", "name": "run", "displayName": "run", "config": "{}"}
            known |= {"summaryMetrics": "{}", "wandbConfig": json.dumps({"t": 1}), **counts}
            return {"model": {**project, "bucket": known}}
        if name == "CreateRunFiles":
            files = [
                {"name": file, "uploadUrl": f"{self._base()}/store/{file}"}
                for file in variables["files"]
            ]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if name == "Viewer":
            return {"viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}"}}
        return {"project": None} if name == "ArtifactType" else {}

    def _base(self) -> str:
        return self.server_state.url
