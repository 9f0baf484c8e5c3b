// A request for /r/N makes calls to /c/N/0, /c/N/1 and so on at the backend, in the way that the variable WAY names.
export const dynamic = 'force-dynamic';

const call = async (number, k) =>
  (await fetch(`http://${process.env.BACKEND}/c/${number}/${k}`, { cache: 'no-store' })).text();

const work = {
  one: (number) => call(number, 0),
  async sequence(number) {
    await call(number, 0);
    await call(number, 1);
  },
  parallel: (number) => Promise.all([0, 1, 2, 3].map((k) => call(number, k))),
};

export async function GET(_request, { params }) {
  await work[process.env.WAY]((await params).number);
  return new Response('ok\n');
}
