// The catalogue: answers from PostgreSQL after some work of its own; an order is also reserved in the stock.
// What a fault changes stands in the file that CONTROL names, which is read again when it changes.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');
const { Pool } = require('pg');

const { PORT, CONTROL, STOCK_URL, DATABASE_URL } = process.env;
const ITEMS_OF_A_LIST = 10;
// Milliseconds that each operation works.
const WORK_MS = {
  item: 8, list: 15, order: 10, price: 5, offer: 12, review: 20, image: 6, brand: 10, similar: 40, search: 30,
};
const settings = {
  // Milliseconds by which every response is delayed.
  delay_ms: 0,
  // Share of the requests that fail with 500.
  error_share: 0,
  // Attempts for each call to the stock.
  attempts: 1,
  // By how much `similar` works longer than it should: 0.15 is 15 %.
  slower_similar: Number(process.env.SLOWER_SIMILAR ?? 0),
};
const pool = new Pool({ connectionString: DATABASE_URL, max: 16 });
const agent = new http.Agent({ keepAlive: true });

let seen = '';
setInterval(() => {
  fs.readFile(CONTROL, 'utf8', (error, text) => {
    if (error || text === seen) return;
    Object.assign(settings, JSON.parse(text));
    seen = text;
  });
}, 50);

function get(url) {
  return new Promise((resolve) => {
    const request = http.get(url, { agent }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode));
      answer.on('error', () => resolve(502));
    });
    request.on('error', () => resolve(502));
  });
}

async function reserve(number) {
  let status = 504;
  for (let attempt = 0; attempt < settings.attempts && status >= 500; attempt += 1) {
    status = await get(`${STOCK_URL}/reserve/${number}`);
  }
  return status;
}

async function answer(word, number) {
  if (Math.random() < settings.error_share) return [500, 'failed\n'];
  const last = word === 'list' ? number + ITEMS_OF_A_LIST - 1 : number;
  const found = await pool.query('SELECT id, name, price FROM items WHERE id BETWEEN $1 AND $2', [number, last]);
  const factor = word === 'similar' ? 1 + settings.slower_similar : 1;
  await sleep(WORK_MS[word] * factor + settings.delay_ms);
  if (word === 'order') {
    const status = await reserve(number);
    if (status >= 400) return [status >= 500 ? 502 : status, 'not reserved\n'];
  }
  return [200, JSON.stringify(found.rows)];
}

const server = http.createServer((request, response) => {
  const [, word, number] = request.url.split('/');
  const known = word in WORK_MS && Number.isInteger(Number(number));
  const result = known ? answer(word, Number(number)) : Promise.resolve([404, 'unknown\n']);
  result.catch((error) => [500, `${error}\n`]).then(([status, text]) => {
    response.writeHead(status, { 'content-length': Buffer.byteLength(text) });
    response.end(text);
  });
});
server.keepAliveTimeout = 120_000;
server.listen(Number(PORT), '127.0.0.1');
