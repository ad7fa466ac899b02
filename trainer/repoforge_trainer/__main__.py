"""`python -m repoforge_trainer --directory DIR`: serves one trainer on one device until it is told to end."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="repoforge_trainer", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="checkpoints, versions and the journal are kept here")
    parser.add_argument("--host", default="127.0.0.1", help="whoever reaches the port controls the trainer: a private address only")
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--device", default=None, help="cuda, cuda:1, cpu (default: cuda where there is one)")
    parser.add_argument("--threads", type=int, default=None, help="threads on a CPU (default: all cores)")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # models are directories; nothing is fetched by name

    import torch
    import uvicorn

    from .engine import Engine
    from .server import create_app

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    engine = Engine(arguments.directory, device)
    print(f"trainer on {device}, port {arguments.port}, incarnation {engine.incarnation}", flush=True)
    uvicorn.run(create_app(engine), host=arguments.host, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
