"""A judge behind an endpoint: a real HTTP server on this machine."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ptspec.recipe.paths import Places
from ptspec.recipe.signals import JudgeSpec
from ptspec.rewards.endpoint import endpoint_judge

KEY = "sk-very-secret-0123456789"


class Server:
    """Answers each request by `reply(request body, its number)`: a text, or (status, headers, body)."""

    def __init__(self, reply):
        self.requests = []
        self.headers = []
        self.paths = []
        self.now = self.most = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.requests.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.paths.append(self.path)
                    number = len(outer.requests)
                    outer.now += 1
                    outer.most = max(outer.most, outer.now)
                answer = reply(body, number)
                with lock:
                    outer.now -= 1
                if answer is None or isinstance(answer, str):
                    answer = (200, {}, completion(answer))
                status, headers, content = answer
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(content)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def completion(text):
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
    }


def judge_at(address, tmp_path, first_backoff=0.01, **options):
    spec = JudgeSpec("fair", endpoint=address, model="tiny-judge", options=options, at="/judges/fair")
    judge = endpoint_judge(spec, Places(tmp_path, tmp_path))
    judge.client.first_backoff = first_backoff
    return judge
