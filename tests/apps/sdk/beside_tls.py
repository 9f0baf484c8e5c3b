"""A service that makes trace headers of its own, exports nothing, and serves the same by HTTP and by HTTPS."""

import http.server
import os
import secrets
import ssl
import sys
import threading
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        header = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        request = urllib.request.Request(os.environ["PRICES_URL"] + self.path, headers={"traceparent": header})
        with urllib.request.urlopen(request) as response:
            response.read()
        body = header.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


plain, secret, certificate, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) for port in (plain, secret)]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
threading.Thread(target=servers[1].serve_forever, daemon=True).start()
servers[0].serve_forever()
