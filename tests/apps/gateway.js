// A service on an event loop: /work/N waits a moment, then asks the price service for N.
const http = require('node:http');

const prices = process.env.PRICES_URL;

// Connections stay open while an agent starts on a slow machine.
http.createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const number = request.url.split('/').pop();
  setTimeout(async () => {
    try {
      const answer = await fetch(`${prices}/price/${number}`);
      response.end(await answer.text());
    } catch (error) {
      console.error(error);
      response.writeHead(502).end();
    }
  }, 5);
}).listen(Number(process.env.PORT), '127.0.0.1');
