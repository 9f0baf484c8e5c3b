// As service.py, on Node's event loop; and the backend that all of them call: service.js WAY.
const http = require('node:http');

const [way] = process.argv.slice(2);
const backend = `http://${process.env.BACKEND}`;
const few = new http.Agent({ keepAlive: true, maxSockets: 2 });

const get = (path, done, agent) =>
  http.get(backend + path, { agent }, (answer) => answer.resume().on('end', () => done(answer.statusCode)))
    .on('error', () => done(0));
const call = async (path) => (await fetch(backend + path)).text();

const ways = {
  callbacks: (number, done) => get(`/c/${number}/0`, () => setTimeout(get, 1, `/c/${number}/1`, done)),
  promises: async (number, done) => {
    await call(`/c/${number}/0`);
    await call(`/c/${number}/1`);
    done();
  },
  'fan-out': (number, done) =>
    Promise.all([...Array(8).keys()].map((k) => call(`/c/${number}/${k}`))).then(done),
  // More requests than connections: a call waits until another's answer has come.
  pool: (number, done) => get(`/c/${number}/0`, () => get(`/c/${number}/1`, done, few), few),
  retries: (number, done) =>
    get(`/c/${number}/0fail`, () => get(`/c/${number}/1cut`, () => get(`/c/${number}/2`, done))),
  after: (number, done) => {
    done();
    call(`/c/${number}/0`);
  },
};

const attempts = { fail: (response) => response.writeHead(503).end(), cut: (response) => response.destroy() };

http.createServer((request, response) => {
  if (way === 'backend') {
    const attempt = attempts[request.url.match(/[a-z]*$/)[0]] || (() => response.end('ok\n'));
    setTimeout(attempt, 3, response);
  } else {
    ways[way](request.url.split('/').pop(), () => response.end('ok\n'));
  }
}).listen(Number(process.env.PORT), process.env.HOST || '127.0.0.1', 1024);
