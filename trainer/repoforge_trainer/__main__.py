"""`python -m repoforge_trainer --directory DIR`: serves one trainer on one device until it is told to end."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import threading
import time
from pathlib import Path
from typing import IO


def main() -> None:
    parser = argparse.ArgumentParser(prog="repoforge_trainer", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="checkpoints, versions and the journal are kept here")
    parser.add_argument("--host", default="127.0.0.1", help="whoever reaches the port controls the trainer: a private address only")
    parser.add_argument("--port", type=int, default=8790, help="0 for a free one, which trainer.json in the directory tells")
    parser.add_argument("--device", default=None, help="cuda, cuda:1, cpu (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, default=None, help="threads on a CPU (default: all cores)")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started it has ended")
    arguments = parser.parse_args()
    if arguments.with_parent:
        threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    if arguments.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # models are directories; nothing is fetched by name
    lock = lock_directory(arguments.directory)

    import torch
    import uvicorn

    from .engine import Engine
    from .server import create_app

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    engine = Engine(arguments.directory, device)
    server = uvicorn.Server(uvicorn.Config(create_app(engine), host=arguments.host, port=arguments.port, log_level="warning"))
    socket = server.config.bind_socket()
    port = socket.getsockname()[1]
    write_note(arguments.directory, port)
    print(f"trainer on {device}, port {port}, incarnation {engine.incarnation}", flush=True)
    server.run(sockets=[socket])
    lock.close()


def lock_directory(directory: Path) -> IO[str]:
    """One trainer works in a directory; the kernel drops the lock with the process."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = (directory / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"another trainer works in {directory}") from None
    return lock


def write_note(directory: Path, port: int) -> None:
    """Who works here and where it listens, for whoever must find or end it."""
    temporary = directory / "trainer.json.tmp"
    temporary.write_text(json.dumps({"pid": os.getpid(), "start_time": start_time(), "port": port}))
    temporary.rename(directory / "trainer.json")


def start_time() -> str:
    """Tells this process from a later one with its pid: field 22 of /proc/self/stat, or what ps says."""
    try:
        stat = Path("/proc/self/stat").read_text()
        return stat[stat.rindex(")") + 2 :].split()[19]
    except OSError:
        return os.popen(f"ps -o lstart= -p {os.getpid()}").read().strip()


def end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)  # what is not committed is done again; nobody waits for an answer


if __name__ == "__main__":
    main()
