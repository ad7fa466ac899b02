import { expect, test } from 'vitest';
import { runTimesOf } from '../../src/report/evaluationTimes.ts';

const done = (startedMs: number, endedMs: number, testsMs: number) => ({
  interval: { startedMs, endedMs },
  testsMs,
});

test('Two slots that never wait are busy throughout, and only the time around the tests is lost', () => {
  const times = runTimesOf([
    done(0, 1_000, 800),
    done(0, 1_000, 800),
    done(1_000, 2_000, 800),
    done(1_000, 2_000, 800),
  ]);
  expect(times).toEqual({ wallMs: 2_000, slots: 2, busy: 1, limitMs: 1_600, efficiency: 0.8 });
});

test('A slot that is handed on at the same moment is not two slots', () => {
  expect(runTimesOf([done(1_000, 2_000, 1_000), done(0, 1_000, 1_000)])).toMatchObject({
    slots: 1,
    efficiency: 1,
  });
});

test('A long test that runs alone at the end bounds the run, and the idle slot shows', () => {
  const times = runTimesOf([done(0, 1_000, 1_000), done(0, 4_000, 4_000)]);
  expect(times).toMatchObject({ wallMs: 4_000, slots: 2, limitMs: 4_000, efficiency: 1 });
  expect(times?.busy).toBeCloseTo(5 / 8);
});

test('A night between two halves of a resumed run is no wall time', () => {
  expect(runTimesOf([done(0, 1_000, 900), done(50_000_000, 50_001_000, 900)])?.wallMs).toBe(2_000);
});

test('A run that only served has no times', () => {
  expect(runTimesOf([])).toBeNull();
});
