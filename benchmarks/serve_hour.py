"""The memory of `misread serve` over a long time of mixed requests at a steady rate.

    python benchmarks/serve_hour.py RUN [--minutes 60] [--rate 30] [--connections 3] [--seed 0] [--out serve-hour.csv]

RUN is a run on grey images of 28x28. The server runs as users start it, with one thread for a prediction; its log goes
to standard error. `--connections` connections share `SHARES`; one more connection goes through `SLOW`, each with a new
connection. Writes a line of `--out` each minute: resident memory, its peak so far, threads and open files.
Prints the answers by kind and status, beside what the server counted. An answer that was not expected ends it with 1.
"""

import argparse
import asyncio
import csv
import io
import json
import random
import re
import sys
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import numpy as np
from PIL import Image

from serve_load import free_port, memory_mb, request_bytes, running

PATIENCE = 60.0  # seconds for an answer
LARGEST = 4096  # pixels a side, the most that the server decodes
TOO_LONG = 9 * 2**20  # bytes of a body
NO_ANSWER = 0


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    make: its bytes; they differ from request to request. statuses: what the server may answer; `NO_ANSWER`: the server
    may close the connection first. parts, seconds: it is sent in so many parts over that time. leaves: the client sends
    the first half and goes.
    """

    name: str
    make: Callable[[random.Random], bytes]
    statuses: tuple[int, ...]
    parts: int = 1
    seconds: float = 0.0
    leaves: bool = False


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def make_pictures() -> list[bytes]:
    """Pictures of many sizes, grey and in colour, in all three formats."""
    draw = np.random.default_rng(0)
    shapes = [(28, 28), (28, 28, 3), (32, 48), (100, 100, 3), (300, 200), (480, 640, 3)]
    return [
        encoded(draw.integers(0, 256, shape, np.uint8), kind) for shape in shapes for kind in ("PNG", "JPEG", "WEBP")
    ]


PICTURES = make_pictures()
WHITE = encoded(np.full((LARGEST, LARGEST), 255, np.uint8), "PNG")


def claim() -> bytes:
    """A PNG whose header has 20,000 x 20,000 pixels, with the right checksum."""
    header = b"IHDR" + (20_000).to_bytes(4, "big") * 2 + WHITE[24:29]
    return WHITE[:12] + header + zlib.crc32(header).to_bytes(4, "big") + WHITE[33:]


def picture(draw: random.Random) -> bytes:
    return request_bytes("/predict", draw.choice(PICTURES))


def damaged(draw: random.Random) -> bytes:
    """Ten bytes are changed after the first bytes, by which the format is told."""
    body = bytearray(draw.choice(PICTURES))
    for _ in range(10):
        body[draw.randrange(16, len(body))] = draw.randrange(256)
    return request_bytes("/predict", bytes(body))


def cut(draw: random.Random) -> bytes:
    body = draw.choice(PICTURES)
    return request_bytes("/predict", body[: draw.randrange(16, len(body) // 2)])


def tensor(draw: random.Random) -> bytes:
    images = draw.randint(1, 8)
    values = list(draw.randbytes(images * 28 * 28))
    content = {"name": "images", "datatype": "UINT8", "shape": [images, 28, 28, 1], "data": values}
    return request_bytes("/v2/models/m/infer", json.dumps({"inputs": [content]}).encode())


def wrong_tensor(draw: random.Random) -> bytes:
    return request_bytes("/v2/models/m/infer", b'{"inputs": [' + b"[" * draw.randint(0, 5000))


def stated_too_long(draw: random.Random) -> bytes:
    return request_bytes("/predict", b"").replace(b"Content-Length: 0", b"Content-Length: %d" % TOO_LONG)


def sent_too_long(draw: random.Random) -> bytes:
    head = request_bytes("/predict", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    return head + b"%x\r\n" % TOO_LONG + bytes(TOO_LONG) + b"\r\n0\r\n\r\n"


SHARES = {
    Kind("picture", picture, (200,)): 200,
    Kind("tensor of 1 to 8 images", tensor, (200,)): 80,
    Kind("picture with changed bytes", damaged, (200, 400, 413)): 50,
    Kind("picture that is cut off", cut, (400,)): 20,
    Kind("no picture", lambda draw: request_bytes("/predict", draw.randbytes(500)), (415,)): 15,
    Kind("no tensor", wrong_tensor, (400,)): 15,
    Kind("claims 20,000 x 20,000 pixels", lambda draw: request_bytes("/predict", claim()), (400,)): 10,
    Kind("states 9 MiB", stated_too_long, (413,)): 7,
    Kind("sends 9 MiB", sent_too_long, (413, NO_ANSWER)): 2,
    Kind("largest picture", lambda draw: request_bytes("/predict", WHITE), (200,)): 1,
}
SLOW = (
    Kind("slow: picture in 5 s", picture, (200,), parts=20, seconds=5),
    Kind("slow: body takes too long", picture, (408, NO_ANSWER), parts=40, seconds=20),
    Kind("slow: headers take too long", stated_too_long, (408, NO_ANSWER), parts=40, seconds=20),
    Kind("slow: leaves in the middle", picture, (NO_ANSWER,), leaves=True),
)


class Client:
    """One connection, opened again when it was closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, kind: Kind, draw: random.Random) -> int:
        """The status of the answer."""
        try:
            async with asyncio.timeout(PATIENCE):
                if self.streams is None:
                    self.streams = await asyncio.open_connection("127.0.0.1", self.port)
                status, kept = await self._exchange(*self.streams, kind, kind.make(draw))
        except (OSError, asyncio.IncompleteReadError):
            status, kept = NO_ANSWER, False
        if not kept:
            self.close()
        return status

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Kind, request: bytes
    ) -> tuple[int, bool]:
        """The status, and whether the connection is kept."""
        if kind.leaves:
            request = request[: len(request) // 2]
        size = -(-len(request) // kind.parts)
        for start in range(0, len(request), size):
            writer.write(request[start : start + size])
            await writer.drain()
            await asyncio.sleep(kind.seconds / kind.parts)
        if kind.leaves:
            return NO_ANSWER, False
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        return int(head.split()[1]), b"connection: close" not in head

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


Answers = Counter[tuple[Kind, int]]


async def steady(port: int, numbers: Iterator[int], began: float, options: argparse.Namespace, found: Answers) -> None:
    """Requests at their times, or late if the server is, until the time is over. The connections share `numbers`."""
    client, kinds, weights = Client(port), list(SHARES), list(SHARES.values())
    for number in numbers:
        if time.perf_counter() > began + 60 * options.minutes:
            break
        await asyncio.sleep(began + number / options.rate - time.perf_counter())
        draw = random.Random(f"{options.seed} {number}")
        kind = draw.choices(kinds, weights)[0]
        found[kind, await client.ask(kind, draw)] += 1
    client.close()


async def slow(port: int, until: float, found: Answers) -> None:
    draw = random.Random(0)
    while time.perf_counter() < until:
        for kind in SLOW:
            client = Client(port)
            found[kind, await client.ask(kind, draw)] += 1
            client.close()
            await asyncio.sleep(1)


async def watch(process: Popen[bytes], began: float, options: argparse.Namespace, found: Answers) -> None:
    """Write a line each minute."""
    folder = Path(f"/proc/{process.pid}")
    with open(options.out, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("minute", "requests", "resident_mb", "peak_mb", "threads", "open_files"))
        for minute in range(options.minutes + 1):
            await asyncio.sleep(began + 60 * minute - time.perf_counter())
            memory = memory_mb(process, "VmRSS"), memory_mb(process, "VmHWM")
            counts = len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir()))
            table.writerow((minute, found.total(), *memory, *counts))
            file.flush()


async def load(port: int, process: Popen[bytes], options: argparse.Namespace) -> Answers:
    found: Answers = Counter()
    began, numbers = time.perf_counter(), iter(range(round(60 * options.minutes * options.rate)))
    await asyncio.gather(
        watch(process, began, options, found),
        slow(port, began + 60 * options.minutes - 60, found),
        *(steady(port, numbers, began, options, found) for _ in range(options.connections)),
    )
    return found


def counted(port: int) -> Counter[str]:
    """Answers by status, as the server counted them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode()
    found: Counter[str] = Counter()
    for status, number in re.findall(r'misread_requests_total{.*status="(\d+)"} (\d+)', lines):
        found[status] += int(number)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=30, help="requests a second")
    parser.add_argument("--connections", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="serve-hour.csv")
    options = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "misread", "serve", "--threads", "1", "--name", "m", "--port", str(port)]
    with running([*command, options.run], port, "/openapi.json") as process:
        found = asyncio.run(load(port, process, options))
        of_server = counted(port)
    print("| request | expected | answers by status |\n|---|---|---|")
    for kind in (*SHARES, *SLOW):
        statuses = {status: count for (other, status), count in sorted(found.items(), key=str) if other is kind}
        print(f"| {kind.name} | {kind.statuses} | {statuses} |")
    unexpected = sum(count for (kind, status), count in found.items() if status not in kind.statuses)
    print(f"\n{found.total():,} requests, {unexpected:,} answers not expected. 0: no answer.")
    print(f"By the server's count: {dict(sorted(of_server.items()))}")
    return min(unexpected, 1)


if __name__ == "__main__":
    sys.exit(main())
