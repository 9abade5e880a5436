"""A run with secrets wherever a run may meet one leaves none in its folder, and says none."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.small import pt_loaded, write_recipe

pytestmark = pytest.mark.slow

CANARY = "canary7f3a9"
SECRETS = {
    "HF_TOKEN": f"hf_{CANARY}HubHubHubHubHubHubHubHubHub",
    "WANDB_API_KEY": f"{CANARY}Wandb",
    "OPENAI_API_KEY": f"sk-{CANARY}-openai-0123456789",
    "JUDGE_KEY": f"{CANARY}-judge",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}/Aws+secret",
}
CHATTY = """
import os, sys, warnings
print("imported with", os.environ["HF_TOKEN"])

def brief(prompts, completions, **columns):
    print("my key is", os.environ["OPENAI_API_KEY"])
    print("http://me:canary7f3a9@host", file=sys.stderr)
    warnings.warn("token " + os.environ["WANDB_API_KEY"])
    return [-float(len(str(text))) for text in completions]
"""


@pytest.fixture
def judge():
    """An endpoint that answers, repeats the key that it was given, and after `left` questions refuses it."""
    left = {"questions": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            key = self.headers["Authorization"]
            assert CANARY in key
            left["questions"] -= 1
            good = left["questions"] >= 0
            message = {"role": "assistant", "content": f"A {key}" if left["questions"] % 2 else "A"}
            body = {"choices": [{"message": message}]} if good else {"error": f"bad key {key}"}
            content = json.dumps(body).encode()
            self.send_response(200 if good else 401, f"OK {key}")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", left
    server.shutdown()
    server.server_close()


def recipe(folder: Path, endpoint: str) -> Path:
    (folder / "mine.py").write_text(CHATTY)
    online = {"max_steps": 2, "per_device_train_batch_size": 2, "num_generations": 2, "save_steps": 1}
    online |= {"max_completion_length": 4}

    def change(recipe: dict) -> None:
        recipe["judges"] = {"llm": {"endpoint": endpoint, "model": "m", "api_key_env": "JUDGE_KEY"}}
        recipe["rewards"] = {"brief": {"function": "mine.py:brief"}}
        grpo = {"name": "grpo", "method": "grpo", "data": "train", "rewards": ["brief"], "config": online}
        nash = {"name": "nash", "method": "nash_md", "data": "train", "judge": "llm", "config": online}
        recipe["stages"] = [grpo, nash]
        recipe["eval"] |= {"samples": 2, "max_new_tokens": 4}
        recipe["data"]["heldout"]["limit"] = 4

    return write_recipe(folder, change)


def found_in(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    return [str(path.relative_to(folder)) for path in files if CANARY.encode() in path.read_bytes()]


def test_a_run_that_is_refused_and_one_that_ends_well(judge, tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    endpoint, left = judge
    output = tmp_path / "out"

    left["questions"] = 2
    refused = pt_loaded("run", recipe(tmp_path, endpoint), "--output", output, "--allow-code")
    assert refused.code == 1, refused.stderr
    assert "answered 401" in refused.stderr
    left["questions"] = 10_000
    done = pt_loaded("run", recipe(tmp_path, endpoint), "--output", output, "--allow-code")
    assert done.code == 0, done.stderr
    told = pt_loaded("report", output)
    for ended in (refused, done, told):
        assert CANARY not in ended.stdout + ended.stderr
    assert found_in(output) == []
    assert f"stdout: {'*' * len(SECRETS['OPENAI_API_KEY'])}" in (output / "run.log").read_text()
