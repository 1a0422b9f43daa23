"""The load that `misread serve` bears, beside a minimal server of FastAPI and PyTorch for the same network.

    python benchmarks/serve_load.py RUN [--peer .venv-peers/bin/python] [--seconds 5] [--trials 3] [--steady 60000]

RUN is a run on grey images of 28x28. The servers run one after the other in every trial, the order changing, with one
thread for a prediction and without logs; clients and servers share this machine. A request is one picture as PNG, or
one image as a JSON tensor. Prints, for 1, 8 and 32 connections, the medians over the trials of requests a second, and
of the 50th, 95th and 99th percentile of a request's time; then the memory of `misread serve` over `--steady` requests.
"""

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import misread
from misread.http.sockets import listen

CLIENTS = (1, 8, 32)
SETTLE = 200  # requests before a measurement


def free_port() -> int:
    with listen("127.0.0.1", 0, "The benchmark") as found:
        return int(found.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, ready: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit(f"{command} does not answer")
        yield process
    finally:
        process.terminate()
        process.wait(30)


def request_bytes(path: str, body: bytes) -> bytes:
    kind = "application/json" if body.startswith(b"{") else "image/png"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def ask(port: int, request: bytes, until: float, most: int, times: list[float]) -> None:
    """One connection: requests one after the other, until a time or a number of all times. Any error ends the run."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until and len(times) < most:
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            raise SystemExit(head.decode())
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        times.append(time.perf_counter() - started)
    writer.close()


def load(port: int, request: bytes, clients: int, seconds: float = 1e9, most: int = 10**9) -> dict[str, float]:
    async def all_clients() -> list[float]:
        times: list[float] = []
        until = time.perf_counter() + seconds
        await asyncio.gather(*(ask(port, request, until, most, times) for _ in range(clients)))
        return times

    started = time.perf_counter()
    times = asyncio.run(all_clients())
    taken = time.perf_counter() - started
    p50, p95, p99 = np.percentile(times, [50, 95, 99]) * 1e3
    return {"requests": len(times), "requests_per_s": len(times) / taken, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


def memory_mb(process: subprocess.Popen[bytes], entry: str = "VmRSS") -> float:
    """Resident memory now, or `VmHWM`, its peak."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(entry)) / 1e3


def bodies() -> tuple[bytes, dict[str, Any]]:
    """A picture as PNG, and the same as a tensor."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 12:16] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue(), {"shape": [1, 28, 28, 1], "data": pixels.ravel().tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--peer", default=".venv-peers/bin/python")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--steady", type=int, default=60_000)
    options = parser.parse_args()
    picture, tensor = bodies()
    oip = {"inputs": [{"name": "images", "datatype": "UINT8", **tensor}]}
    with tempfile.TemporaryDirectory() as folder:
        run = misread.open_run(options.run)
        (onnx,), (torch,) = misread.export(run, "onnx", folder), misread.export(run, "torch", folder)
        own = [sys.executable, "-m", "misread", "serve", "--no-log", "--threads", "1", "--name", "m", "--port"]
        peer = str(Path(__file__).parent / "peers" / "fastapi_server.py")
        servers = {
            "misread, run": lambda port: [*own, str(port), options.run],
            "misread, ONNX": lambda port: [*own, str(port), str(onnx.path)],
            "FastAPI and PyTorch": lambda port: [options.peer, peer, str(torch.path), str(port)],
        }
        measured: dict[tuple[str, str, int], list[dict[str, float]]] = {}
        memory = {}
        for trial in range(options.trials):
            for name, command in sorted(servers.items(), reverse=bool(trial % 2)):
                own_server = name.startswith("misread")
                infer = ("/v2/models/m/infer", oip) if own_server else ("/infer", tensor)
                requests = {
                    "picture": request_bytes("/predict", picture),
                    "tensor": request_bytes(infer[0], json.dumps(infer[1]).encode()),
                }
                port = free_port()
                with running(command(port), port, "/openapi.json") as process:
                    for kind, request in requests.items():
                        load(port, request, 8, most=SETTLE)
                        for clients in CLIENTS:
                            found = load(port, request, clients, options.seconds)
                            measured.setdefault((kind, name, clients), []).append(found)
                    memory[name] = memory_mb(process)
        print(f"load average {os.getloadavg()[0]:.1f}, {options.trials} trials of {options.seconds:g} s\n")
        print(
            "| request | server | connections | requests/s | p50 ms | p95 ms | p99 ms |\n|---|---|--:|--:|--:|--:|--:|"
        )
        for (kind, name, clients), found in sorted(measured.items()):
            keys = ("requests_per_s", "p50_ms", "p95_ms", "p99_ms")
            rate, p50, p95, p99 = (statistics.median(trial[key] for trial in found) for key in keys)
            print(f"| {kind} | {name} | {clients} | {rate:,.0f} | {p50:.2f} | {p95:.2f} | {p99:.2f} |")
        print("\nMemory after that: " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in memory.items()))
        if options.steady:
            port = free_port()
            with running(servers["misread, run"](port), port, "/openapi.json") as process:
                request = request_bytes("/predict", picture)
                for part in range(7):
                    done = load(port, request, 8, most=options.steady // 6 if part else SETTLE)["requests"]
                    print(f"{done:,} requests more: {memory_mb(process):.1f} MB", flush=True)


if __name__ == "__main__":
    main()
