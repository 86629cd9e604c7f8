"""Asking a server as many clients do, and counting what comes back.

Two kinds of load answer two questions. In a **closed** one, so many clients each wait for their
answer before they ask again: a slow server is asked less. In an **open** one, requests come at
times that do not depend on the server, as from many strangers: nothing bounds how many wait.
"""

import asyncio
import time
from typing import NamedTuple

LOST = 0  #: the status of a request that got no answer


class Answer(NamedTuple):
    """What came back for one request."""

    status: int  #: of HTTP, or LOST
    seconds: float  #: from sending to the last byte of the answer
    body: bytes  #: of the answer
    sent: float  #: when it was sent, by ``time.perf_counter()``


class Client:
    """One connection to a server, which is opened again when it was closed."""

    def __init__(self, port, host="127.0.0.1"):
        self.host = host
        self.port = port
        self.reader = None
        self.writer = None

    async def ask(self, picture, path="/caption"):
        """Send the bytes of a picture, and return the Answer. Nothing is sent twice."""
        sent = time.perf_counter()
        try:
            if self.writer is None or self.reader.at_eof():  # the server closed an idle one
                self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
            self.writer.write(request(picture, path))
            await self.writer.drain()
            status, body, closing = await read_answer(self.reader)
        except (OSError, EOFError, ValueError):
            status, body, closing = LOST, b"", True
        if closing:
            self.close()
        return Answer(status, time.perf_counter() - sent, body, sent)

    def close(self):
        """Close the connection, if there is one."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def request(picture, path):
    """The bytes of a request that brings a picture."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(picture)}\r\n\r\n"
    )
    return head.encode() + picture


async def read_answer(reader):
    """Status, body, and whether the connection ends. EOFError where the answer is cut off."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split()[1])
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    return status, body, fields.get("connection") == "close"


async def closed_load(port, pictures, clients, count):
    """``count`` requests from so many clients, each of which asks again when it was answered.

    ``pictures`` are taken in turn. A client that got no answer stops. Returns the Answers in the
    order in which they came.
    """
    answers = []
    numbers = iter(range(count))

    async def one_client():
        client = Client(port)
        for number in numbers:
            answer = await client.ask(pictures[number % len(pictures)])
            answers.append(answer)
            if answer.status == LOST:
                break
        client.close()

    await asyncio.gather(*(one_client() for _ in range(clients)))
    return answers


async def open_load(port, pictures, times):
    """Requests at these ``times``, in seconds from now, whatever became of those before.

    Connections are used again when they are free. The seconds of an Answer count from the time at
    which it was due, also where this program was too busy to send it then. Returns the Answers in
    the order of the times.
    """
    begin = time.perf_counter()
    free = []

    async def one_request(number, when):
        due = begin + when
        await asyncio.sleep(due - time.perf_counter())
        client = free.pop() if free else Client(port)
        answer = await client.ask(pictures[number % len(pictures)])
        free.append(client)
        late = answer.sent - due
        return answer._replace(seconds=late + answer.seconds, sent=due)

    tasks = [asyncio.create_task(one_request(*each)) for each in enumerate(times)]
    answers = await asyncio.gather(*tasks)
    for client in free:
        client.close()
    return answers
