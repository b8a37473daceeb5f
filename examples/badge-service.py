#!/usr/bin/env python3
"""The plant's badge service, for the examples and their tests: GET /badges/<number> on a loopback address.

    badge-service.py [--host ADDRESS] [--port PORT] BADGES

BADGES is a JSON file: by number what the service says. Shifts are in seconds from now, so that the file never ages. A number in
place of a badge is the status of an answer without sense, a text is an answer without sense. Each request is a line on standard
output.
"""

import argparse
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    badges = {}

    def do_GET(self):
        badge = self.badges.get(self.path.removeprefix("/badges/"), 404)
        status, body = (badge, "") if isinstance(badge, int) else (200, badge)
        if isinstance(body, dict):
            now = int(time.time())
            shifts = [{"from": now + shift["from"], "to": now + shift["to"]} for shift in body["shifts"]]
            body = json.dumps(body | {"shifts": shifts})
        print(f"{self.path} {status}", flush=True)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        """Its lines are those above."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("badges", type=argparse.FileType())
    arguments = parser.parse_args()
    Service.badges = json.load(arguments.badges)
    server = ThreadingHTTPServer((arguments.host, arguments.port), Service)
    print(f"listening on http://{arguments.host}:{server.server_port}/badges/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


main()
