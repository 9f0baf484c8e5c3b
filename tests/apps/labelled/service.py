"""Services whose paths tell which request made which call: service.py WAY.

A request for /r/N makes calls to /c/N/0, /c/N/1 and so on at the backend, in one of the ways below.
"""

import asyncio
import collections
import contextvars
import ctypes
import functools
import gc
import http.client
import itertools
import os
import queue
import select
import socket
import sys
import threading
from concurrent.futures import Future

BACKEND = os.environ["BACKEND"]
WORKERS = 8
# Of ten thousand requests, those from here on are worked for in another way, if the way changes.
CHANGE = 5000

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
KEPT_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)


def read(connection):
    """Reads a request. Returns its number; none at the end of the connection."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(65536)
        if not part:
            return None
        head += part
    return int(head.split()[1].rsplit(b"/", 1)[1])


def answer(connection):
    connection.sendall(ANSWER)
    connection.shutdown(socket.SHUT_WR)
    connection.close()


def call(path, connection=None):
    connection = connection or http.client.HTTPConnection(BACKEND)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


def work(number):
    for k in range(2):
        call(f"/c/{number}/{k}")


def serve(connection, work=work, afterwards=lambda number: None):
    number = read(connection)
    if number is None:
        return connection.close()
    work(number)
    answer(connection)
    afterwards(number)


def accepted():
    while True:
        yield listener.accept()[0]


def start(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()


def threads(**how):
    """A thread for each request."""
    for connection in accepted():
        threading.Thread(target=functools.partial(serve, connection, **how), daemon=True).start()


def retries(number):
    """The first answer is an error, the second never comes, the third is right."""
    for k, kind in enumerate(["fail", "cut", ""]):
        try:
            if call(f"/c/{number}/{k}{kind}") == 200:
                return
        except (http.client.HTTPException, OSError):
            pass


def fan_out(number):
    """Eight calls at once, each by a thread of its own."""
    helpers = [threading.Thread(target=call, args=(f"/c/{number}/{k}",)) for k in range(8)]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join()


def after(number):
    """A call when the answer has been given."""
    call(f"/c/{number}/0")


def pool():
    """Threads that take connections from a queue, and share connections to the backend."""
    waiting, idle = queue.Queue(), queue.LifoQueue()
    for _ in range(WORKERS):
        idle.put(http.client.HTTPConnection(BACKEND))

    def pooled(number):
        for k in range(2):
            connection = idle.get()
            call(f"/c/{number}/{k}", connection)
            idle.put(connection)

    def worker():
        while True:
            serve(waiting.get(), work=pooled)

    for _ in range(WORKERS):
        start(worker)
    for connection in accepted():
        waiting.put(connection)


def prefork():
    """Processes that accept for themselves."""
    for _ in range(WORKERS // 2):
        if os.fork() == 0:
            for connection in accepted():
                serve(connection)
    os.wait()


class Jobs:
    """Connections and calls that wait for a thread."""

    def __init__(self):
        self.changed = threading.Condition()
        self.connections = collections.deque()
        self.calls = collections.deque()

    def put(self, kind, job):
        with self.changed:
            kind.append(job)
            self.changed.notify_all()

    def take(self, kinds, until=lambda: False):
        with self.changed:
            while not until():
                for kind in kinds:
                    if kind:
                        return kind.popleft()
                self.changed.wait()
        return None

    def run(self, path, future):
        status = call(path)
        with self.changed:
            future.set_result(status)
            self.changed.notify_all()


def shared(helps, workers, hands_over=lambda number: True):
    """Threads that read requests and run each other's calls: those that are free, and if a thread
    `helps`, also itself while it waits for its own."""
    jobs = Jobs()

    def work_shared(number):
        if not hands_over(number):
            return work(number)
        futures = [Future() for _ in range(2)]
        for k, future in enumerate(futures):
            jobs.put(jobs.calls, (f"/c/{number}/{k}", future))
        for future in futures:
            while helps and (job := jobs.take([jobs.calls], until=future.done)):
                jobs.run(*job)
            future.result()

    def worker():
        while True:
            job = jobs.take([jobs.calls, jobs.connections])
            if isinstance(job, tuple):
                jobs.run(*job)
            else:
                serve(job, work=work_shared)

    for _ in range(workers):
        start(worker)
    for connection in accepted():
        jobs.put(jobs.connections, connection)


def interleaved():
    """One thread that reads all requests that are there before it works for any of them, the last first."""
    while True:
        connections = [listener.accept()[0]]
        while select.select([listener], [], [], 0.002)[0]:
            connections.append(listener.accept()[0])
        requests = [(read(connection), connection) for connection in connections]
        for number, connection in reversed(requests):
            if number is not None:
                work(number)
        for number, connection in requests:
            connection.close() if number is None else answer(connection)


async def call_in_loop(path):
    reader, writer = await asyncio.open_connection(*BACKEND.split(":"))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n".encode())
    await reader.read()
    writer.close()


async def calls_in_loop(number, count=2):
    for k in range(count):
        await call_in_loop(f"/c/{number}/{k}")
        await asyncio.sleep(0.001)


async def gathered(number):
    """Three calls at once, after one call."""
    await call_in_loop(f"/c/{number}/0")
    await asyncio.gather(*(call_in_loop(f"/c/{number}/{k}") for k in range(1, 4)))


async def own_task(number):
    """Each call by a task of its own."""
    for k in range(2):
        await asyncio.create_task(call_in_loop(f"/c/{number}/{k}"))


async def task_group(number):
    """Three calls at once, by a task group in a task of its own."""

    async def group():
        async with asyncio.TaskGroup() as group:
            for k in range(3):
                group.create_task(call_in_loop(f"/c/{number}/{k}"))

    await asyncio.create_task(group())


class GroupOfAnother:
    """One request at a time opens a task group. The others make their calls by tasks of that group, and await them."""

    def __init__(self):
        self.group = None

    async def __call__(self, number):
        call = call_in_loop(f"/c/{number}/0")
        if self.group is not None:
            await self.group.create_task(call)
            return
        async with asyncio.TaskGroup() as self.group:
            await asyncio.sleep(0.01)
            self.group = None
        await call


async def limited_time(number):
    for k in range(2):
        await asyncio.wait_for(call_in_loop(f"/c/{number}/{k}"), timeout=30)


async def waited(number):
    """Tasks that are waited for together, and one that is shielded."""
    tasks = [asyncio.create_task(call_in_loop(f"/c/{number}/{k}")) for k in range(2)]
    await asyncio.wait(tasks)
    await asyncio.shield(asyncio.create_task(call_in_loop(f"/c/{number}/2")))


class Limited:
    """No more than three calls at once."""

    def __init__(self):
        self.free = asyncio.Semaphore(3)

    async def __call__(self, number):
        for k in range(2):
            async with self.free:
                await call_in_loop(f"/c/{number}/{k}")


class Queued:
    """Tasks that make the calls of all requests, by a queue."""

    def __init__(self):
        self.calls = asyncio.Queue()
        self.workers = [asyncio.create_task(self.work()) for _ in range(WORKERS)]

    async def work(self):
        while True:
            path, done = await self.calls.get()
            await call_in_loop(path)
            done.set_result(None)

    async def __call__(self, number):
        for k in range(2):
            done = asyncio.get_running_loop().create_future()
            self.calls.put_nowait((f"/c/{number}/{k}", done))
            await done


class Shared:
    """A task that makes a call for all requests that wait, each of which awaits that task."""

    def __init__(self):
        self.waiting, self.task = [], None

    async def work(self):
        await asyncio.sleep(0.002)
        waiting, self.waiting, self.task = self.waiting, [], None
        for number in waiting:
            await call_in_loop(f"/c/{number}/0")

    async def __call__(self, number):
        self.waiting.append(number)
        self.task = self.task or asyncio.create_task(self.work())
        await self.task


async def in_thread(number):
    for k in range(2):
        await asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, call, f"/c/{number}/{k}")


async def overwritten(number):
    """What tells the running task is wrong while a call is written."""
    loop, own, other = asyncio.get_running_loop(), asyncio.current_task(), asyncio.create_task(asyncio.sleep(1))
    for k in range(2):
        reader, writer = await asyncio.open_connection(*BACKEND.split(":"))
        request = f"GET /c/{number}/{k} HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n".encode()
        if k == 0:
            tasks = asyncio.tasks._current_tasks
            tasks[loop] = other
            writer.write(request)
            tasks[loop] = own
        else:
            # `TaskObj.task_context` of CPython 3.11.
            context = ctypes.c_uint64.from_address(id(own) + 152)
            kept, context.value = context.value, id(other)
            writer.write(request)
            context.value = kept
        await reader.read()
        writer.close()
    other.cancel()


async def garbage(number):
    """Tasks and what they hold come and go, and are collected."""
    kept = [[object() for _ in range(200)] for _ in range(number % 7)]
    kept.append(kept)
    await asyncio.gather(*(call_in_loop(f"/c/{number}/{k}") for k in range(2)))
    del kept
    gc.collect(number % 3)


async def late(number):
    await asyncio.sleep(0.003)
    await call_in_loop(f"/c/{number}/0")


async def gathered_late(number):
    await asyncio.sleep(0.003)
    await asyncio.gather(*(call_in_loop(f"/c/{number}/{k}") for k in range(2)))


async def read_in_loop(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1].rsplit(b"/", 1)[1])


def restarted():
    """Processes that end after some requests, and others in their place."""
    def work():
        for served, connection in enumerate(accepted(), 1):
            serve(connection)
            if served == 25:
                os._exit(0)

    for running in itertools.count():
        if os.fork() == 0:
            work()
        if running >= WORKERS // 2:
            os.wait()


async def answer_in_loop(writer):
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


async def event_loop(prepare=lambda: calls_in_loop, afterwards=None):
    """One thread and its coroutines: a task for each connection."""
    work, tasks = prepare(), set()

    async def serve_in_loop(reader, writer):
        # The loop itself keeps no task.
        tasks.add(asyncio.current_task())
        number = await read_in_loop(reader)
        await work(number)
        await answer_in_loop(writer)
        tasks.remove(asyncio.current_task())
        if afterwards:
            task = asyncio.create_task(afterwards(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve_in_loop, sock=listener)
    await server.serve_forever()


async def serve_kept(work, afterwards=None):
    """A task for each connection, which works for all requests of it. It may go on after an answer."""

    async def serve_connection(reader, writer):
        try:
            while True:
                number = await read_in_loop(reader)
                await work(number)
                writer.write(KEPT_ANSWER)
                if afterwards:
                    await afterwards(number)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve_connection, sock=listener)
    await server.serve_forever()


async def serve_by_one_task(batch):
    """One task that works for all requests, and answers them: one after the other, or those that are there together."""
    requests = asyncio.Queue()

    async def take(reader, writer):
        requests.put_nowait((await read_in_loop(reader), writer))

    server = await asyncio.start_server(take, sock=listener)
    while True:
        taken = [await requests.get()]
        while batch and not requests.empty():
            taken.append(requests.get_nowait())
        for number, _ in taken:
            await calls_in_loop(number)
        for _, writer in taken:
            await answer_in_loop(writer)


def of_loop(**how):
    return lambda: asyncio.run(event_loop(**how))


async def nothing(number):
    pass


WAYS = {
    "threads": threads,
    "retries": lambda: threads(work=retries),
    "fan-out": lambda: threads(work=fan_out),
    "after": lambda: threads(work=lambda number: None, afterwards=after),
    "pool": pool,
    "prefork": prefork,
    "restarted": restarted,
    "hand-over": lambda: shared(helps=False, workers=3 * WORKERS),
    "helping": lambda: shared(helps=True, workers=WORKERS),
    "changing": lambda: shared(False, 3 * WORKERS, hands_over=lambda number: number % 10_000 >= CHANGE),
    "interleaved": interleaved,
    "event-loop": of_loop(),
    "loop, gather": of_loop(prepare=lambda: gathered),
    "loop, task": of_loop(prepare=lambda: own_task),
    "loop, group": of_loop(prepare=lambda: task_group),
    "loop, group of another": of_loop(prepare=GroupOfAnother),
    "loop, wait_for": of_loop(prepare=lambda: limited_time),
    "loop, wait": of_loop(prepare=lambda: waited),
    "loop, semaphore": of_loop(prepare=Limited),
    "loop, queue": of_loop(prepare=Queued),
    "loop, shared": of_loop(prepare=Shared),
    "loop, overwritten": of_loop(prepare=lambda: overwritten),
    "loop, garbage": of_loop(prepare=lambda: garbage),
    "loop, thread": of_loop(prepare=lambda: in_thread),
    "loop, after": of_loop(prepare=lambda: nothing, afterwards=late),
    "kept": lambda: asyncio.run(serve_kept(calls_in_loop)),
    "kept, gather": lambda: asyncio.run(serve_kept(gathered)),
    "kept, after": lambda: asyncio.run(serve_kept(nothing, afterwards=late)),
    "kept, gather after": lambda: asyncio.run(serve_kept(nothing, afterwards=gathered_late)),
    "loop, one task": lambda: asyncio.run(serve_by_one_task(batch=False)),
    "loop, batches": lambda: asyncio.run(serve_by_one_task(batch=True)),
}
WAYS[sys.argv[1]]()
