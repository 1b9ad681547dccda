"""A shop's prices by HTTP, from a server that is slow, sometimes fails, and refuses who asks too fast.

``python price_api.py`` prints its address, and serves until its standard input ends: when whoever started it has gone.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter, deque
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ALLOWED = 160  # requests in any one second: a client that starts 100 may be late with forty that are under way
SECONDS = 0.05  # that an answer takes

asked: Counter[int] = Counter()  # how often for each price
seen: set[int] = set()  # prices of which a request was not refused for haste
answers: Counter[int] = Counter()  # how many of each status
last_second: deque[float] = deque()
busiest = 0  # most requests in one second
lock = threading.Lock()


def status_of(number: int) -> HTTPStatus:
    """Count a request for a price; how it is answered: some products have none, some fail or are refused once."""
    global busiest  # noqa: PLW0603 - the server is this module
    with lock:
        now = time.monotonic()
        while last_second and last_second[0] <= now - 1:
            last_second.popleft()
        last_second.append(now)
        busiest = max(busiest, len(last_second))
        asked[number] += 1
        if len(last_second) > ALLOWED:
            answers[HTTPStatus.TOO_MANY_REQUESTS] += 1
            return HTTPStatus.TOO_MANY_REQUESTS
        first = number not in seen
        seen.add(number)
        if first and number % 40 == 1:
            status = HTTPStatus.TOO_MANY_REQUESTS
        elif number % 60 == 0:
            status = HTTPStatus.NOT_FOUND
        elif first and number % 50 == 1:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        else:
            status = HTTPStatus.OK
        answers[status] += 1
        return status


class Handler(BaseHTTPRequestHandler):
    """Answers ``/prices/7`` and, with what it has counted, ``/report``."""

    protocol_version = "HTTP/1.1"  # a client's next request comes over the same connection
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/report":
            self.reply(HTTPStatus.OK, {"answers": answers, "busiest_second": busiest})
            return
        number = int(self.path.removeprefix("/prices/"))
        status = status_of(number)
        time.sleep(SECONDS)
        found = status is HTTPStatus.OK
        self.reply(status, {"id": number, "cents": 99 + number * 37 % 900, "asked": asked[number]} if found else {})

    def reply(self, status: HTTPStatus, body: dict[str, object]) -> None:
        """Send a status and a body of JSON."""
        data = json.dumps(body).encode()
        self.send_response(status)
        if status is HTTPStatus.TOO_MANY_REQUESTS:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - for the one who started it
    sys.stdin.read()
