import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { parseRlFile, presetAsFile, rlOptionsOf } from '../../src/cli/rlFile.ts';
import { RL_PRESETS } from '../../src/domain/rl/presets.ts';
import type { RlPresetName } from '../../src/domain/rl/presets.ts';

const FILE = `name: first
dataset: spring
model: /models/policy
servers: [http://127.0.0.1:8000]
trainer: http://127.0.0.1:8790
`;

describe('a training file', () => {
  test('takes the preset, and what it says otherwise', () => {
    const file = parseRlFile(
      `${FILE}preset: tiny\noptions:\n  group_size: 4\n  max_turns: 3\n  clip_high: 0.4\n  max_wall_seconds: 90\n  lora: { rank: 8, alpha: 16 }\n`,
      'train.yaml',
    );
    const { tiny } = RL_PRESETS;
    expect(rlOptionsOf(file)).toEqual({
      ...tiny.options,
      groupSize: 4,
      budget: { ...tiny.options.budget, maxTurns: 3, maxWallMs: 90_000 },
      loss: { ...tiny.options.loss, clipHigh: 0.4 },
      lora: { rank: 8, alpha: 16 },
    });
  });

  test('is the preset "repoforge" where it names none', () => {
    expect(rlOptionsOf(parseRlFile(FILE, 'train.yaml'))).toEqual(RL_PRESETS.repoforge.options);
  });

  test.each([
    ['options: { stop_window: 50 }', /train.yaml:6:25: "options.stop_window": .*20/],
    ['options: { max_turns: 501 }', /"options.max_turns": .*500/],
    [
      'options: { goups_per_step: 8 }',
      'train.yaml:6:12: unknown key "goups_per_step"; did you mean "groups_per_step"?',
    ],
    ['presett: tiny', 'train.yaml:6:1: unknown key "presett"; did you mean "preset"?'],
    ['options: { group_size: 1 }', /train.yaml:6:24: "options.group_size": .*2/],
    ['options: { temperature: 0 }', /"options.temperature"/],
    ['preset: huge', /train.yaml:6:9: "preset"/],
    ['options: { lora: { rnk: 8 } }', /unknown key "rnk"; did you mean "rank"\?/],
  ])('names the line of a mistake: %s', (line, message) => {
    expect(() => parseRlFile(`${FILE}${line}\n`, 'train.yaml')).toThrow(message);
  });

  test('says which key is missing, and what an address looks like', () => {
    expect(() => parseRlFile(FILE.replace(/^model.*\n/m, ''), 'train.yaml')).toThrow('"model" is missing');
    expect(() => parseRlFile(FILE.replace('http://127.0.0.1:8790', 'localhost'), 'train.yaml')).toThrow(
      'expected an address such as http://127.0.0.1:8000',
    );
  });
});

test.each(Object.keys(RL_PRESETS) as RlPresetName[])(
  'the preset %s is shown as a file that gives just it',
  (name) => {
    const shown = stringify(presetAsFile(name));
    // from another preset, so that every number comes from what is shown
    const other = name === 'tiny' ? 'paper' : 'tiny';
    const file = parseRlFile(`${FILE}preset: ${other}\n${shown}`, 'train.yaml');
    expect(rlOptionsOf(file)).toEqual(RL_PRESETS[name].options);
  },
);

test("the paper's preset has its numbers, and says what it does not reproduce", () => {
  const { options, description } = RL_PRESETS.paper;
  expect(options).toMatchObject({
    groupsPerStep: 8,
    groupSize: 8,
    temperature: 0.5,
    learningRate: 1e-6,
    maxStaleness: 0,
    loss: { klCoefficient: 0.001 },
    budget: { maxTurns: 35 },
  });
  expect(description).toContain('top-p 0.95 is not reproduced');
});
