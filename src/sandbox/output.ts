import { Writable } from 'node:stream';

/** Keeps the first bytes of a command's output, counts the rest, and never slows the command down. */
export interface OutputCollector {
  readonly stdoutSink: Writable;
  readonly stderrSink: Writable;
  result(): {
    readonly stdout: Buffer;
    readonly stderr: Buffer;
    readonly output: Buffer;
    readonly droppedBytes: number;
  };
}

/** @param capBytes kept bytes of stdout and stderr together. */
export function createOutputCollector(capBytes: number): OutputCollector {
  const chunks: { readonly from: 'stdout' | 'stderr'; readonly bytes: Buffer }[] = [];
  let keptBytes = 0;
  let droppedBytes = 0;
  const sink = (from: 'stdout' | 'stderr'): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        const room = Math.min(chunk.length, capBytes - keptBytes);
        // A copy: a slice would keep the whole network buffer alive.
        if (room > 0) chunks.push({ from, bytes: Buffer.from(chunk.subarray(0, room)) });
        keptBytes += room;
        droppedBytes += chunk.length - room;
        done();
      },
    });
  const join = (wanted: readonly ('stdout' | 'stderr')[]): Buffer =>
    Buffer.concat(chunks.filter(({ from }) => wanted.includes(from)).map(({ bytes }) => bytes));
  return {
    stdoutSink: sink('stdout'),
    stderrSink: sink('stderr'),
    result: () => ({
      stdout: join(['stdout']),
      stderr: join(['stderr']),
      output: join(['stdout', 'stderr']),
      droppedBytes,
    }),
  };
}
