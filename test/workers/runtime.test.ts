import type { LogEntry } from '@temporalio/worker';
import pino from 'pino';
import { expect, it } from 'vitest';
import { createEntryLog } from '../../src/workers/runtime.ts';

/** As the native core says it while a server is gone. */
const AWAY = [
  'gRPC call poll_activity_task_queue retried 6 times',
  'gRPC call respond_activity_task_completed retried 9 times',
  'Network error while completing activity',
  'Error while completing workflow activation',
];

it('That Temporal does not answer is one warning a minute, however many pollers say it; other warnings all pass', () => {
  const said: { level: number; msg: string }[] = [];
  const log = pino(
    { level: 'warn' },
    { write: (line: string) => void said.push(JSON.parse(line) as { level: number; msg: string }) },
  );
  let nowMs = 0;
  const write = createEntryLog(log, () => nowMs);
  const warn = (message: string): void => write({ level: 'WARN', timestampNanos: 0n, message } as LogEntry);
  for (nowMs = 0; nowMs < 60_000; nowMs += 1_000) AWAY.forEach(warn);
  expect(said.map(({ msg }) => msg)).toEqual([AWAY[0]]);
  AWAY.forEach(warn);
  expect(said).toHaveLength(2);
  warn('Failing workflow task');
  warn('Failing workflow task');
  warn('No workflows registered on this worker');
  expect(said.slice(2).map(({ msg, level }) => [msg, level])).toEqual([
    ['Failing workflow task', 40],
    ['Failing workflow task', 40],
  ]);
});
