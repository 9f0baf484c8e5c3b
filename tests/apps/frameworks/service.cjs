// A service of a framework: service.cjs FRAMEWORK. A request for /r/N makes calls to /c/N/0, /c/N/1 and so on at the
// backend, in the way that the variable WAY names. Runs in Node, Bun and Deno.
const process = require('node:process');

const backend = `http://${process.env.BACKEND}`;
const host = '127.0.0.1';
const port = Number(process.env.PORT);

const call = async (number, k) => (await fetch(`${backend}/c/${number}/${k}`)).text();

// The same by `node:http`, with the agent that Node gives.
const asked = (number, k) => new Promise((done, fail) => {
  require('node:http').get(`${backend}/c/${number}/${k}`, (answer) => answer.resume().on('end', done))
    .on('error', fail);
});

const sequence = (by) => async (number) => {
  await by(number, 0);
  await by(number, 1);
};
const parallel = (by) => (number) => Promise.all([0, 1, 2, 3].map((k) => by(number, k)));

const work = {
  one: (number) => call(number, 0),
  sequence: sequence(call),
  parallel: parallel(call),
  'sequence, http': sequence(asked),
  'parallel, http': parallel(asked),
}[process.env.WAY];

const frameworks = {
  express() {
    const app = require('express')();
    app.get('/r/:number', async (request, response) => {
      await work(request.params.number);
      response.send('ok\n');
    });
    app.listen(port, host);
  },

  fastify() {
    const app = require('fastify')();
    app.get('/r/:number', async (request) => {
      await work(request.params.number);
      return 'ok\n';
    });
    app.listen({ port, host });
  },

  koa() {
    const { default: Koa = require('koa') } = require('koa');
    const app = new Koa();
    app.use(async (context) => {
      await work(context.path.split('/').pop());
      context.body = 'ok\n';
    });
    app.listen(port, host);
  },

  // What a compiler makes of the decorators is written out.
  async nest() {
    require('reflect-metadata');
    const { Controller, Get, Module, Param } = require('@nestjs/common');
    const { NestFactory } = require('@nestjs/core');
    class Requests {
      async serve(number) {
        await work(number);
        return 'ok\n';
      }
    }
    Param('number')(Requests.prototype, 'serve', 0);
    Get(':number')(Requests.prototype, 'serve', Object.getOwnPropertyDescriptor(Requests.prototype, 'serve'));
    Controller('r')(Requests);
    class Application {}
    Module({ controllers: [Requests] })(Application);
    const app = await NestFactory.create(Application, { logger: false });
    await app.listen(port, host);
  },

  bun() {
    Bun.serve({
      port,
      hostname: host,
      async fetch(request) {
        await work(request.url.split('/').pop());
        return new Response('ok\n');
      },
    });
  },

  deno() {
    Deno.serve({ port, hostname: host }, async (request) => {
      await work(request.url.split('/').pop());
      return new Response('ok\n');
    });
  },
};
frameworks[process.argv[2]]();
