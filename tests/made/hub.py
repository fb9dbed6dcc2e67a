"""A stand-in for the Hugging Face hub on this machine: the part of its HTTP API that up- and downloads use."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

TOKEN = "hf_of_tests"


class Hub:
    """Repositories by name, each a list of commits, newest last: the files by name."""

    def __init__(self) -> None:
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.requests: list[str] = []
        self.address = ""

    def found(self, repo: str, revision: str, *, has_token: bool) -> tuple[str, dict[str, bytes] | None]:
        """The error code of the hub, or "" and the files of that revision."""
        commits = self.repositories.get(repo)
        if commits is None or (repo in self.private and not has_token):
            return "RepoNotFound", None
        commits_by_name = {"main": commits[-1]} | {f"v{number}": files for number, files in enumerate(commits)}
        return ("", commits_by_name[revision]) if revision in commits_by_name else ("RevisionNotFound", None)


@contextmanager
def hub(patch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """A hub, at which huggingface_hub looks instead of its own, with an empty cache."""
    held = Hub()
    server = _Server(("127.0.0.1", 0), _Handler)
    server.held = held
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    held.address = address = f"http://127.0.0.1:{server.server_address[1]}"
    patch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    for module in ("constants", "file_download"):  # the second held a copy of its own before 1.0
        patch.setattr(f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    patch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(cache / "token"))
    patch.setenv("HF_TOKEN", TOKEN)
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    held: Hub


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_HEAD(self) -> None:
        self._file()

    def do_GET(self) -> None:
        self._file()

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.held.requests.append(f"POST {self.path}")
        if not self._has_token():
            self._answer({"error": "Invalid credentials"}, status=401)
        elif self.path == "/api/repos/create":
            self._create(json.loads(content))
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(content)["files"]
            kept = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]
            self._answer({"files": kept})
        else:
            self._commit(self.path.removeprefix("/api/models/").removesuffix("/commit/main"), content)

    def _create(self, facts: Any) -> None:
        held, repo = self.server.held, f"{facts.get('organization') or 'user'}/{facts['name']}"
        held.repositories.setdefault(repo, [{}])
        if facts.get("private") or facts.get("visibility") == "private":  # by the version
            held.private.add(repo)
        self._answer({"url": f"https://huggingface.co/{repo}", "name": repo, "id": repo})

    def _commit(self, repo: str, content: bytes) -> None:
        commits, lines = self.server.held.repositories[repo], map(json.loads, content.splitlines())
        files = [line["value"] for line in lines if line["key"] == "file"]
        commits.append(commits[-1] | {each["path"]: base64.b64decode(each["content"]) for each in files})
        commit = "0" * 40
        address = f"https://huggingface.co/{repo}/commit/{commit}"
        self._answer({"commitUrl": address, "commitOid": commit, "success": True})

    def _file(self) -> None:
        self.server.held.requests.append(f"{self.command} {self.path}")
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        if found is None:  # what huggingface_hub asks for itself
            self._answer({}, status=404)
            return
        error, files = self.server.held.found(found[1], found[2], has_token=self._has_token())
        if files is None or found[3] not in files:
            self._answer({"error": error}, status=404, headers={"X-Error-Code": error or "EntryNotFound"})
            return
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self._send(
            files[found[3]], {"ETag": f'"{hashlib.sha256(files[found[3]]).hexdigest()}"', "X-Repo-Commit": commit}
        )

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _answer(self, facts: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(facts).encode(), {"Content-Type": "application/json", **(headers or {})}, status)

    def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the method that it replaces
        pass
