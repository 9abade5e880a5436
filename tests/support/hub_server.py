"""A server that answers as the hub does, as far as ptspec asks it: repositories, files, the dataset viewer.

It stands as the HTTP proxy of the process, so that it gets what goes to any name under hub.test.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

ENDPOINT = "http://hub.test"
PUBLIC = "https://huggingface.co"
"""The only host that huggingface_hub takes in an answer."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", COMMIT)

PAIR = {"prompt": "Where is Tarn?", "chosen": "In the north.", "rejected": "Tarn"}
PAIRS = [{**PAIR, "prompt": f"{number}. Where is Tarn?"} for number in range(5)]


@dataclass
class Repo:
    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    card: dict = field(default_factory=dict)
    splits: list[tuple[str, str]] | None = None
    """Pairs of configuration and split that the viewer has; None: it has nothing."""
    rows: list[dict] = field(default_factory=list)
    private: bool = False
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What the server has. `answers`: what each answer but the probe's waits for; `may_write`: whether
    whoever asks has a token that is good for that."""

    models: dict[str, Repo] = field(default_factory=dict)
    datasets: dict[str, Repo] = field(default_factory=dict)
    answers: threading.Event = field(default_factory=threading.Event)
    may_write: bool = True
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def __enter__(self) -> Hub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.answers.set()
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        """What a push asks: a repository, how to send files, one commit."""
        self.hub.asked.append(f"POST {self.path}")
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if "Authorization" not in self.headers:
            refused = b'{"error": "Invalid username or password."}'
            return self._send(401, refused, {"Content-Type": "application/json"})
        if not self.hub.may_write:
            return self._send(
                403, b'{"error": "this token may only read"}', {"Content-Type": "application/json"}
            )
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}"
            self.hub.models.setdefault(
                name, Repo(private=asked.get("visibility") == "private" or bool(asked.get("private")))
            )
            return self._json({"url": f"{PUBLIC}/{name}", "name": name, "id": "1"})
        match = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/(preupload|commit|branch)/(.+)", self.path)
        assert match is not None, self.path
        repo = self.hub.models[match[1]]
        if match[2] == "branch":
            return self._json({})
        if match[2] == "preupload":
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(content)["files"]]
            return self._json({"files": [{**file, "shouldIgnore": False} for file in files]})
        for line in map(json.loads, content.splitlines()):
            if line["key"] == "file":
                repo.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "header":
                repo.commits.append(line["value"]["summary"])
        return self._json({"commitUrl": f"{PUBLIC}/{match[1]}/commit/{COMMIT}", "commitOid": COMMIT})

    def _answer(self) -> None:
        url = urlsplit(self.path)
        self.hub.asked.append(f"{self.command} {self.path}")
        if url.path in ("", "/"):
            return self._send(200, b"")
        self.hub.answers.wait()
        if "datasets-server." in self.path:
            return self._viewer(url.path.strip("/"), {k: v[0] for k, v in parse_qs(url.query).items()})
        if match := re.fullmatch(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/(.*))?", url.path):
            return self._api(match[1], match[2], match[3] or "")
        if match := re.fullmatch(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", url.path):
            return self._file("datasets" if match[1] else "models", match[2], unquote(match[4]))
        return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _repo(self, kind: str, name: str) -> Repo | None:
        return (self.hub.models if kind == "models" else self.hub.datasets).get(name)

    def _api(self, kind: str, name: str, rest: str) -> None:
        repo = self._repo(kind, name)
        if repo is None:
            return self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        if rest == "auth-check":
            return self._gated() if repo.gated else self._send(200, b"{}")
        revision = unquote(rest.partition("/")[2].partition("/")[0]) or "main"
        if revision not in REVISIONS:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if rest.startswith("tree/"):
            return self._json(_entries(repo, rest.partition("/")[2].partition("/")[2]))
        return self._json(
            {
                "id": name,
                "sha": COMMIT,
                "private": False,
                "gated": "auto" if repo.gated else False,
                "siblings": [{"rfilename": path} for path in repo.files],
                "cardData": repo.card,
            }
        )

    def _file(self, kind: str, name: str, path: str) -> None:
        repo = self._repo(kind, name)
        if repo is None or path not in repo.files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        if repo.gated:
            return self._gated()
        content = repo.files[path]
        headers = {"ETag": f'"{_tag(content)}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(content))}
        if match := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            first, last = int(match[1]), min(int(match[2]), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self._send(206, content[first : last + 1], headers)
        return self._send(200, content, headers)

    def _viewer(self, what: str, asked: dict[str, str]) -> None:
        repo = self.hub.datasets.get(asked.get("dataset", ""))
        if repo is None or repo.splits is None:
            return self._send(404, b"{}")
        if what == "splits":
            splits = [{"dataset": asked["dataset"], "config": c, "split": s} for c, s in repo.splits]
            return self._json({"splits": splits, "pending": [], "failed": []})
        rows = [{"row_idx": i, "row": row, "truncated_cells": []} for i, row in enumerate(repo.rows)]
        names = list(repo.rows[0]) if repo.rows else []
        features = [{"feature_idx": i, "name": name, "type": {}} for i, name in enumerate(names)]
        return self._json({"features": features, "rows": rows, "truncated": False})

    def _gated(self) -> None:
        self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        except OSError:
            pass  # who asked has gone


def _entries(repo: Repo, folder: str) -> list[dict]:
    """What stands in `folder` of a repository, without what is deeper."""
    below = {
        path: path.removeprefix(f"{folder}/")
        for path in repo.files
        if not folder or path.startswith(f"{folder}/")
    }
    files = [
        {"type": "file", "path": path, "size": len(repo.files[path]), "oid": _tag(repo.files[path])}
        for path, rest in below.items()
        if "/" not in rest
    ]
    names = {rest.partition("/")[0] for rest in below.values() if "/" in rest}
    return [*files, *({"type": "directory", "path": f"{folder}/{n}".strip("/"), "oid": "0"} for n in names)]


def _tag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
