// A service that makes a call for each request, as many as its path says behind a slash, by fetch or by http. No tracing in it.
const http = require("node:http");
const { BACKEND, PORT } = process.env;

const ways = {
  fetch: async () => (await fetch(BACKEND)).text(),
  http: () =>
    new Promise((resolve, reject) => {
      http.get(BACKEND, (answer) => {
        answer.resume();
        answer.on("end", resolve);
      }).on("error", reject);
    }),
};
const call = ways[process.argv[2]];

http.createServer(async (request, response) => {
  for (let n = Number(request.url.split("/")[2] ?? 1); n > 0; n--) await call();
  response.end("done\n");
}).listen(Number(PORT), "127.0.0.1");
