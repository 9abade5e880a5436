"""A hub of the tests' own: a server that is one, or nobody at its address; an empty cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hub_server import ENDPOINT, PAIRS, Hub, Repo
from support.judge_server import Server

BASE = Path(__file__).parents[2] / "data" / "base_model"


@pytest.fixture
def hub_environment(tmp_path, monkeypatch):
    """An empty cache, nothing remembered, and the hub under a name that only a proxy knows."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", ENDPOINT)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    for name in ("NO_PROXY", "no_proxy", "HF_DATASETS_CACHE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    forget()
    yield tmp_path / "home"
    forget()


def forget():
    import huggingface_hub

    from ptspec.data.readers import hub_rows
    from ptspec.hub import connection, repository

    huggingface_hub.close_session()
    connection._probed.cache_clear()
    repository._asked.cache_clear()
    connection._WHY_OFFLINE.clear()
    hub_rows._look.cache_clear()


@pytest.fixture
def hub(hub_environment, monkeypatch):
    with Hub() as server:
        monkeypatch.setenv("http_proxy", server.address)
        files = {path.name: path.read_bytes() for path in BASE.iterdir() if path.is_file()}
        server.models["someone/tiny"] = Repo(files)
        server.datasets["someone/pairs"] = Repo(
            splits=[("default", "train"), ("default", "test")], rows=PAIRS
        )
        yield server


@pytest.fixture
def no_hub(hub_environment, monkeypatch):
    """Nobody answers at the address of the proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


@pytest.fixture
def serve(monkeypatch):
    """Starts judges behind endpoints; no proxy stands between."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    running = []

    def start(reply):
        running.append(Server(reply))
        return running[-1]

    yield start
    for server in running:
        server.close()
