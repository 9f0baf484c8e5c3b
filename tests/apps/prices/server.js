// Prices, as anyone would serve them: no tracing in it.
const http = require("node:http");

const server = http.createServer((request, response) => {
  const [, kind, name] = request.url.split("?")[0].split("/");
  request.resume();
  if (kind === "price") {
    const body = JSON.stringify({ item: name, price: 100 + name.length });
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    response.end(body);
  } else if (kind === "chunked") {
    response.writeHead(200, { "content-type": "text/plain" });
    response.write("first ".repeat(2000));
    setTimeout(() => response.end("last"), 10);
  } else if (kind === "echo") {
    response.end(name + "\n");
  } else if (kind === "slow") {
    setTimeout(() => response.end("slow\n"), 50);
  } else {
    response.writeHead(404);
    response.end("there is no such thing\n");
  }
});

// A client may use a connection that rested just when it is closed.
server.keepAliveTimeout = 600_000;
server.listen(Number(process.env.PORT || 3000), process.env.HOST || "127.0.0.1");
