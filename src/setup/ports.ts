import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const PORT_RELEASE_MS = 2_000; // threads of a killed server hold its ports for a moment after it counts as dead

/** `wanted` if nobody listens there, else a port that the system names; never `other`. */
export async function freePort(wanted?: number, other?: number): Promise<number> {
  const deadline = Date.now() + PORT_RELEASE_MS;
  while (wanted !== undefined && wanted !== other) {
    if ((await canListen(wanted)) !== null) return wanted;
    if (Date.now() > deadline) break;
    await delay(50);
  }
  for (;;) {
    const port = await canListen(0);
    if (port !== null && port !== other) return port;
  }
}

function canListen(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(null));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = probe.address();
      const bound = typeof address === 'object' && address !== null ? address.port : null;
      probe.close(() => resolve(bound));
    });
  });
}
