"""A fresh Holdfast node on loopback: its own directory, configuration and free ports, driven through its HTTP API."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request

from . import scratch

IQN_PREFIX = "iqn.2026-11.io.holdfast:"

CONFIG = """\
[node]
name = "{name}"
data_dir = "{data}"
reactors = {reactors}

[iscsi]
listen = ["127.0.0.1:{port}"]

[admin]
listen = "127.0.0.1:{admin_port}"

[log]
level = "{level}"
"""


class Holdfast:
    def __init__(self, place, build, name="node", cpus=None, reactors=1, more_config=""):
        self.name = name
        program = (build / "tools/holdfastd/holdfastd").absolute()
        if not os.access(program, os.X_OK):
            raise scratch.Failed(f"{program} is not there: cmake --preset release && cmake --build build")
        self.port, self.admin_port = scratch.free_port(), scratch.free_port()
        self.data = place.folder(f"{name}.data")
        config = place.path / f"{name}.toml"
        config.write_text(CONFIG.format(name=name, data=self.data.absolute(), reactors=reactors, port=self.port,
                                        admin_port=self.admin_port, level="info") + more_config)
        self.server = place.start([str(program), "--config", str(config)], f"{name}.log", cpus=cpus)
        scratch.wait_for(self._ready, 20, "holdfastd to serve")

    def _ready(self):
        self.server.ensure_alive()
        try:
            self.ask("GET", "/healthz")
        except scratch.Failed:
            self.server.ensure_alive()
            return False
        return scratch.accepts_connections(self.port)

    def ask(self, method, path, body=None):
        """JSON (or text) of an answer; Failed with the node's own explanation of a refusal."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}", method=method,
                                         data=json.dumps(body).encode() if body is not None else None,
                                         headers={"Content-Type": "application/json"} if body is not None else {})
        try:
            # No proxy: the environment may name one, and this is loopback.
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise scratch.Failed(f"{method} {path}: {error.code} {error.read().decode(errors='replace').strip()}") from error
        except (OSError, http.client.HTTPException) as error:
            time.sleep(0.1)   # A process that is ending closes its sockets first; its last words explain more than they do.
            self.server.ensure_alive()
            raise scratch.Failed(f"{method} {path}: {error}") from error
        try:
            return json.loads(text)
        except ValueError:
            return text

    def create_volume(self, volume, size_bytes, log_bytes=None):
        body = {"name": volume, "size": size_bytes}
        if log_bytes:
            body["log_size"] = log_bytes
        self.ask("POST", "/v1/volumes", body)
        self.url = self.url_of(volume)

    def url_of(self, volume):
        return f"iscsi://127.0.0.1:{self.port}/{IQN_PREFIX}{volume}/0"

    def volume(self, volume):
        return self.ask("GET", f"/v1/volumes/{volume}")

    def version(self):
        status = self.ask("GET", "/v1/status")
        return str(status.get("version", "")) if isinstance(status, dict) else ""
