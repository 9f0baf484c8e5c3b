// A service that makes one call for each request, by fetch or by http. No tracing in it.
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

http.createServer(async (_, response) => {
  await call();
  response.end("done\n");
}).listen(Number(PORT), "127.0.0.1");
