"""The registry of custom nodes on this machine, for programs that know no other place to ask than the network's."""

import contextlib
import json
import ssl
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import tomllib
import trustme


class Registry(ThreadingHTTPServer):
    """A proxy that is itself the other end of every connection, and knows one pack and its archive.

    ``environment`` leads programs to it, ``refused`` is what they asked for in vain.
    """

    def __init__(self, archive, folder):
        super().__init__(("127.0.0.1", 0), Answer)
        with zipfile.ZipFile(archive) as packed:
            project = tomllib.loads(packed.read("pyproject.toml").decode())["project"]
        self.version = project["version"]
        self.answers = answers(project["name"], self.version) | {"/node.zip": archive.read_bytes()}
        self.refused = []
        self.authority = trustme.CA()
        certificate = str(folder / "authority.pem")
        self.authority.cert_pem.write_to_path(certificate)
        proxy = f"http://127.0.0.1:{self.server_port}"
        self.environment = {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": "127.0.0.1"}
        self.environment |= {"SSL_CERT_FILE": certificate, "REQUESTS_CA_BUNDLE": certificate}

    def handle_error(self, request, client_address):
        """A client may hang up: who only asks where the archive's address leads does not read it."""


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.authority.issue_cert(self.path.partition(":")[0]).configure_cert(context)
        self.request = context.wrap_socket(self.request, server_side=True)
        self.setup()
        self.close_connection = False

    def do_GET(self):
        path = self.path.partition("?")[0]
        # the manager's own lists of packs and models: empty
        body = b'{"custom_nodes": []}' if path.endswith(".json") else self.server.answers.get(path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def log_error(self, *_):
        self.server.refused.append(self.requestline)


def answers(name, version):
    """What the registry says of a pack, by path."""
    newest = {"id": "1", "version": version, "downloadUrl": "https://archives.invalid/node.zip"}
    pack = {"id": name, "name": name, "description": "", "publisher": {"name": name}, "latest_version": newest}
    said = {"/nodes": {"nodes": [pack], "totalPages": 1}, f"/nodes/{name}/install": newest}
    return {path: json.dumps(value).encode() for path, value in said.items()}


@contextlib.contextmanager
def running_registry(archive, folder):
    """Start it, and stop it in the end; ``folder`` gets its certificate."""
    with Registry(archive, folder) as registry:
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        yield registry
        registry.shutdown()
