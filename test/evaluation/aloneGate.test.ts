import { expect, it } from 'vitest';
import { createAloneGate } from '../../src/evaluation/aloneGate.ts';

it('one that asks to be alone waits for those at work, keeps newcomers out, and lets them in afterwards', async () => {
  const gate = createAloneGate();
  const events: string[] = [];
  const finish = { a: Promise.withResolvers<void>(), alone: Promise.withResolvers<void>() };
  const job = (name: string, until?: Promise<void>) => async () => {
    events.push(`${name} starts beside ${gate.running() - 1}`);
    await until;
    events.push(`${name} ends`);
  };
  const a = gate.shared(job('a', finish.a.promise));
  await Promise.resolve();
  const alone = gate.alone(job('alone', finish.alone.promise));
  const second = gate.alone(job('second'));
  const b = gate.shared(job('b'));
  finish.a.resolve();
  await a;
  finish.alone.resolve();
  await Promise.all([alone, second, b]);
  expect(events).toEqual([
    'a starts beside 0',
    'a ends',
    'alone starts beside 0',
    'alone ends',
    'second starts beside 0',
    'second ends',
    'b starts beside 0',
    'b ends',
  ]);
  expect(gate.running()).toBe(0);
});

it('work that throws leaves the gate open', async () => {
  const gate = createAloneGate();
  await expect(gate.alone(() => Promise.reject(new Error('x')))).rejects.toThrow('x');
  await expect(gate.shared(() => Promise.resolve(1))).resolves.toBe(1);
});
