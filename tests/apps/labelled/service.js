// As service.py, on Node's event loop; and the backend that all of them call: service.js WAY.
const { AsyncLocalStorage } = require('node:async_hooks');
const cluster = require('node:cluster');
const dns = require('node:dns');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const threads = require('node:worker_threads');

const [way] = process.argv.slice(2);
const backend = `http://${process.env.BACKEND}`;
const few = new http.Agent({ keepAlive: true, maxSockets: 2 });
const three = new http.Agent({ keepAlive: true, maxSockets: 3 });
const closing = new http.Agent({ keepAlive: false });

const get = (path, done, agent) =>
  http.get(backend + path, { agent }, (answer) => answer.resume().on('end', () => done(answer.statusCode)))
    .on('error', () => done(0));
const call = async (path, more) => (await fetch(backend + path, more)).text();
const got = (path, agent) => new Promise((done) => get(path, done, agent));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// At most so many at once, the others in a queue.
const limiter = (most) => {
  let running = 0;
  const queue = [];
  const next = () => {
    if (running < most && queue.length) {
      running += 1;
      queue.shift()();
    }
  };
  return (work) =>
    new Promise((done) => {
      queue.push(() => work().then((value) => { running -= 1; next(); done(value); }));
      next();
    });
};
const limited = limiter(3);

// Promises have async ids while the program keeps contexts.
const contexts = new AsyncLocalStorage();
const slept = async (number) => {
  await got(`/c/${number}/0`);
  await sleep(1);
  await got(`/c/${number}/1`);
};

// One call answers all who wait for it; its path has the number of the first. The others call again, each for itself.
let shared = null;
const load = (schedule) => {
  let batch = null;
  return (number) => new Promise((done) => {
    if (!batch) {
      const mine = batch = [];
      schedule(() => {
        batch = null;
        call(`/c/${mine[0].number}/0`).then(() => mine.forEach((waiter, at) => waiter.done(at === 0)));
      });
    }
    batch.push({ number, done });
  });
};
const loads = { timer: load((work) => setTimeout(work, 2)), tick: load(process.nextTick) };
const loaded = (by) => async (number, done) => {
  if (!await loads[by](number)) await call(`/c/${number}/0`);
  done();
};

// The dispatcher of fetch, with a queue in front of three connections.
let dispatcher = null;
const queued = async (path) => {
  await fetch('data:,');
  const { constructor } = globalThis[Symbol.for('undici.globalDispatcher.1')];
  // Since Node 26 it is wrapped.
  if (constructor.name !== 'Agent') return limited(() => call(path));
  dispatcher ||= new constructor({ connections: 3 });
  return call(path, { dispatcher });
};

// Calls of other threads.
let worker = null;
const waiting = new Map();
const called = (number) => {
  if (!worker) {
    worker = new threads.Worker(__filename, { argv: ['caller'] });
    worker.on('message', (number) => { waiting.get(number)(); waiting.delete(number); });
  }
  return new Promise((done) => { waiting.set(number, done); worker.postMessage(number); });
};

// What tells the running callback is wrong while a call is written.
const nonsense = [NaN, -5, 1e300, 2 ** 53, Infinity, 0.5];
const overwritten = (path) => new Promise((done) => {
  const { async_id_fields: ids } = require('internal/test/binding').internalBinding('async_wrap');
  const [host, port] = process.env.BACKEND.split(':');
  const socket = net.connect(port, host, () => {
    const kept = ids.slice();
    ids[0] = ids[1] = nonsense[Math.floor(Math.random() * nonsense.length)];
    socket.write(`GET ${path} HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n`);
    ids.set(kept);
    socket.resume().on('close', done);
  });
});

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
  'after-both': (number, done) => get(`/c/${number}/0`, () => {
    done();
    setImmediate(get, `/c/${number}/1`, () => {});
  }),
  closing: (number, done) => get(`/c/${number}/0`, () => get(`/c/${number}/1`, done, closing), closing),
  await: async (number, done) => {
    await got(`/c/${number}/0`);
    await sleep(3);
    await got(`/c/${number}/1`);
    await new Promise(setImmediate);
    await got(`/c/${number}/2`);
    done();
  },
  mixed: async (number, done) => {
    await call(`/c/${number}/0`);
    await sleep(3);
    await call(`/c/${number}/1`);
    await Promise.all([call(`/c/${number}/2`), call(`/c/${number}/3`)]);
    done();
  },
  four: (number, done) => Promise.all([0, 1, 2, 3].map((k) => call(`/c/${number}/${k}`))).then(done),
  three: (number, done) => get(`/c/${number}/0`, () => get(`/c/${number}/1`, done, three), three),
  body: (number, done, request) => request.resume().on('end', () => get(`/c/${number}/0`, done)),
  files: (number, done) => fs.readFile(__filename, () =>
    get(`/c/${number}/0`, () => dns.lookup('localhost', () => get(`/c/${number}/1`, done)))),
  promised: async (number, done) => {
    await fs.promises.readFile(__filename);
    await got(`/c/${number}/0`);
    await dns.promises.lookup('localhost');
    await got(`/c/${number}/1`);
    done();
  },
  sleeps: async (number, done) => {
    await sleep(1 + number % 5);
    await got(`/c/${number}/0`);
    await sleep(1 + number % 3);
    await got(`/c/${number}/1`);
    done();
  },
  limit: async (number, done) => {
    await limited(() => got(`/c/${number}/0`));
    await limited(() => got(`/c/${number}/1`));
    done();
  },
  'limit-some': async (number, done) => {
    await got(`/c/${number}/0`);
    await (number % 4 ? got(`/c/${number}/1`) : limited(() => got(`/c/${number}/1`)));
    done();
  },
  queued: async (number, done) => {
    await queued(`/c/${number}/0`);
    await queued(`/c/${number}/1`);
    done();
  },
  context: (number, done) => contexts.run(number, async () => { await slept(number); done(); }),
  'context-shared': (number, done) => contexts.run(number, () => ways.shared(number, done)),
  shared: async (number, done) => {
    if (shared) {
      await shared;
      await got(`/c/${number}/0`);
    } else {
      shared = got(`/c/${number}/0`).finally(() => { shared = null; });
      await shared;
    }
    done();
  },
  'load-timer': loaded('timer'),
  'load-tick': loaded('tick'),
  overwritten: async (number, done) => {
    await overwritten(`/c/${number}/0`);
    await overwritten(`/c/${number}/1`);
    done();
  },
  // Node is started with `--expose-gc`.
  garbage: async (number, done) => {
    const kept = [...Array(1000)].map(() => ({ number }));
    await got(`/c/${number}/0`);
    if (number % 10 === 0) global.gc();
    await got(`/c/${number}/${kept.length / 1000}`);
    done();
  },
  threads: (number, done) => called(number).then(done),
  cluster: (number, done) => ways.callbacks(number, done),
};

const attempts = { fail: (response) => response.writeHead(503).end(), cut: (response) => response.destroy() };

const serve = () => http.createServer((request, response) => {
  if (way === 'backend') {
    const attempt = attempts[request.url.match(/[a-z]*$/)[0]] || (() => response.end('ok\n'));
    setTimeout(attempt, 3, response);
  } else {
    ways[way](request.url.split('/').pop(), () => response.end('ok\n'), request);
  }
}).listen(Number(process.env.PORT), process.env.HOST || '127.0.0.1', 1024);

if (way === 'caller') {
  threads.parentPort.on('message', async (number) => {
    await call(`/c/${number}/0`);
    threads.parentPort.postMessage(number);
  });
} else if (way === 'cluster' && cluster.isPrimary) {
  for (let n = 0; n < 2; n += 1) cluster.fork();
} else {
  serve();
}
