import { describe, expect, test } from 'vitest';
import { rlProblem, stalenessProblem } from '../../../src/domain/rl/messages.ts';
import type { RlInput } from '../../../src/domain/rl/messages.ts';
import { RL_PRESETS } from '../../../src/domain/rl/presets.ts';

const input = (options: Partial<RlInput['options']> = {}, more: Partial<RlInput> = {}): RlInput => ({
  run: 'run',
  queuePrefix: 'p',
  manifest: 'sha256:0',
  promptCount: 3,
  heldOutCount: 0,
  options: { ...RL_PRESETS.tiny.options, ...options },
  epoch: 0,
  ...more,
});

describe('a training run', () => {
  test.each(Object.entries(RL_PRESETS))('can start with the preset %s', (_name, { options }) => {
    expect(rlProblem(input(options))).toBeUndefined();
  });
  test.each([
    [input({}, { promptCount: 0 }), /no instance/],
    [input({}, { promptCount: 0, heldOutCount: 5 }), /All 5 instances are held out/],
    [input({}, { heldOutCount: 1_001 }), /1001 instances are held out; at most 1000/],
    [input({ agent: 'coder', groupSize: 8, width: 126 }), /126 groups of 8 is 1008 episodes at once/],
    [input({ budget: { ...RL_PRESETS.tiny.options.budget, maxTurns: 501 } }), /from 1 to 500 turns/],
    [input({}, { run: 'a/b' }), /not a valid name/],
    [input({ groupSize: 1 }), /groupSize must be a whole number from 2/],
    [input({ width: 0 }), /width/],
    [input({ maxStaleness: 33 }), /from 0 to 32/],
    [input({ temperature: 0 }), /temperature/],
    [input({ stopWindow: 21 }), /stopWindow/],
    [input({ maxStaleness: 1 }), /All parameters have one version/],
  ])('cannot start with what makes no sense (%#)', (one, message) => {
    expect(rlProblem(one)).toMatch(message);
  });
});

test('a group of the selector is one rollout, however many answers it samples', () => {
  expect(rlProblem(input({ agent: 'selector', groupSize: 64, width: 500 }))).toBeUndefined();
});

test('a bound above 0 is refused later, too, where all parameters are trained and versions are pinned', () => {
  const { tiny } = RL_PRESETS;
  expect(stalenessProblem(tiny.options, 1)).toMatch(/All parameters/);
  expect(stalenessProblem({ ...tiny.options, policy: 'latest' }, 1)).toBeUndefined();
  expect(stalenessProblem({ ...tiny.options, lora: { rank: 8, alpha: 16 } }, 1)).toBeUndefined();
  expect(stalenessProblem(tiny.options, 0)).toBeUndefined();
});
