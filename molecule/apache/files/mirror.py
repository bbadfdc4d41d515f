"""Answers every request with its own head."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mirror(BaseHTTPRequestHandler):
    def answer(self) -> None:
        head = f"{self.requestline}\n{self.headers}".encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(head)))
        self.end_headers()
        self.wfile.write(head)

    do_GET = do_POST = answer


ThreadingHTTPServer(("127.0.0.1", 5002), Mirror).serve_forever()
