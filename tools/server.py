"""A real ComfyUI server, started headless, and its HTTP and websocket interface."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tools.host import ALLOCATOR, HOST

START_SECONDS = 120


class WorkflowError(RuntimeError):
    """The server refused a prompt, or a node failed; the message is the server's."""


class Server:
    """A running server. ``log`` is the file that its output goes to, ``pid`` its process."""

    def __init__(self, url: str, log: Path, pid: int):
        self.url, self.log, self.pid = url, log, pid

    def get(self, path: str) -> Any:
        """JSON, or bytes of anything else."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            body = answer.read()
            return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else body

    def post(self, path: str, **data: Any) -> bytes:
        """Send a JSON object and return the answer."""
        request = urllib.request.Request(
            self.url + path, json.dumps(data).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue an API-format prompt, as a client of its own, and return its id."""
        try:
            return json.loads(self.post("/prompt", prompt=prompt, client_id=uuid.uuid4().hex))["prompt_id"]
        except urllib.error.HTTPError as error:
            raise WorkflowError(error.read().decode()) from error

    def interrupt(self) -> None:
        """Stop the prompt that runs, as the front end does."""
        self.post("/interrupt")

    def result(self, prompt_id: str, timeout: float = 600) -> dict[str, Any]:
        """Wait for a prompt and return its history: outputs by node, and status messages."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}").get(prompt_id)
            if history and history["status"]["completed"]:
                return history
            if history and history["status"]["status_str"] == "error":
                raise WorkflowError(json.dumps(history["status"]["messages"][-1]))
            time.sleep(0.2)
        raise TimeoutError(f"The prompt did not finish in {timeout:.0f} s.")

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Queue a prompt and wait for its outputs by node."""
        return self.result(self.queue(prompt))["outputs"]

    def image(self, description: dict[str, str]) -> bytes:
        """File of an image or latent output, as saved."""
        query = "&".join(f"{key}={description[key]}" for key in ("filename", "subfolder", "type"))
        return self.get(f"/view?{query}")


@contextlib.contextmanager
def running_server(*options: str, attention: str = "pytorch", metadata: bool = False) -> Iterator[Server]:
    """Start a server in a folder of its own and stop it in the end.

    Args:
        options: more of the host's command line; those that choose a place for models are not allowed on the CPU, which
            is taken where there is no GPU.
        attention: the host's attention, ``pytorch``, ``split`` or ``quad``.
        metadata: whether pictures are saved with their workflow.

    Raises:
        RuntimeError: it does not come up; the end of its log is in the message.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "server.log")
        command = [sys.executable, str(HOST / "main.py"), f"--use-{attention}-cross-attention"]
        command += [] if torch.cuda.is_available() else ["--cpu"]
        command += ["--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"]
        command += [] if metadata else ["--disable-metadata"]
        for name in ("output", "temp", "input", "user"):
            Path(folder, name).mkdir()
            command += [f"--{name}-directory", str(Path(folder, name))]
        command += ["--database-url", "sqlite:///:memory:", *options]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=HOST, env={**ALLOCATOR, **os.environ}
            )
        try:
            server = Server(f"http://127.0.0.1:{port}", log, process.pid)
            _wait(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(30)


def _wait(server: Server, process: subprocess.Popen) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            server.get("/system_stats")
            return
        time.sleep(0.3)
    raise RuntimeError("ComfyUI did not start:\n" + server.log.read_text(errors="replace")[-3000:])
