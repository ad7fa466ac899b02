/**
 * What stands between us and a vLLM server: a small program in its environment's Python that starts the server, and ends
 * everything of its process group when its standard input ends, which is when we do, whatever kills us. vLLM's engine is
 * a process of its own, which outlives a killed server for a while and holds its memory.
 */
export const GUARD = `
import os, signal, subprocess, sys, threading, time

ending = threading.Event()

def watch():
    while os.read(0, 4096):
        pass
    ending.set()

for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(name, lambda *_: ending.set())
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=watch, daemon=True).start()
while server.poll() is None and not ending.is_set():
    ending.wait(0.2)
if server.poll() is None:
    server.terminate()
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass
print(f"vLLM ended with exit code {server.poll()}", flush=True)
os.killpg(0, signal.SIGKILL)
`;
