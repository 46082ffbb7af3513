#!/usr/bin/env python3
"""Makes `written_by_bd24467/`: the durable queue of a daemon that was killed, as commit bd24467 wrote it.

Usage: unshare -m make.py WATCHPOST FOLDER

WATCHPOST is a binary built from that commit. Everything stays on loopback. The daemon probes 25 ports at which nobody
listens, and sends to a backend that (1) accepts everything, (2) answers 500 to each request with the target `Poison`
until those samples are quarantined, (3) refuses connections. Then the daemon is killed, and 16 bytes in the middle of
the second segment are overwritten. Tests read the result; none of them runs this script.
"""
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

binary, out = sys.argv[1], pathlib.Path(sys.argv[2])
accepted = 0


class Backend(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global accepted
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = 500 if b'"Poison"' in body else 200
        accepted += code == 200
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
threading.Thread(target=server.serve_forever, daemon=True).start()
state = pathlib.Path(tempfile.mkdtemp())
# On a small disk segments are small: a sixteenth of it.
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(state)], check=True)
targets = [f"127.0.0.1:{port};{'Poison' if port == 1 else f'Port {port}'}" for port in range(1, 26)]
configuration = {
    "receivers": {"probe/ports": {"interval": "1s", "module": "tcp_connect", "targets": targets}},
    "exporters": {
        "otlp_http": {
            "endpoint": f"http://127.0.0.1:{server.server_port}",
            "encoding": "json",
            "compression": "none",
            "retry_on_failure": {"initial_interval": "100ms", "max_interval": "1s"},
        }
    },
    "service": {"pipelines": {"metrics": {"receivers": ["probe/ports"], "exporters": ["otlp_http"]}}},
    "storage": {"directory": str(state), "queue": {"min_free_mib": 0}},
    "http": {"listen": "127.0.0.1:0"},
}
file = state / "watchpost.yaml"
file.write_text(json.dumps(configuration))
daemon = subprocess.Popen([binary, "--config", str(file)])
folder = state / "queue" / "metrics"
deadline = time.time() + 240


def until(what, done):
    while not done():
        if time.time() > deadline or daemon.poll() is not None:
            daemon.kill()
            sys.exit(f"{what} did not happen")
        time.sleep(0.2)
    print(what)


until("samples are accepted", lambda: accepted >= 2)
until("samples are quarantined", lambda: any((folder / "rejected").glob("*.seg")))
server.shutdown()
server.server_close()
until("several segments are written", lambda: len(list(folder.glob("*.seg"))) >= 4)
daemon.send_signal(signal.SIGKILL)
daemon.wait()

segments = sorted(folder.glob("*.seg"))
with segments[1].open("r+b") as segment:
    segment.seek(segments[1].stat().st_size // 2)
    segment.write(b"\xa5" * 16)
shutil.rmtree(out, ignore_errors=True)
shutil.copytree(folder, out / "metrics")
(out / "metrics" / "lock").unlink()
subprocess.run(["umount", str(state)], check=True)
state.rmdir()
print(*sorted(f"{path.relative_to(out)} {path.stat().st_size}" for path in out.rglob("*") if path.is_file()), sep="\n")
