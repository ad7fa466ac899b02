import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Different ports of the loopback that nobody listens on. Below 32,768: the Temporal server keeps them as 16 bits with a sign. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = randomInt(12_000, 32_000);
    if (await canListen(port)) found.add(port);
  }
  return [...found];
}

export const freePort = async (): Promise<number> => (await freePorts(1))[0] ?? 0;

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
