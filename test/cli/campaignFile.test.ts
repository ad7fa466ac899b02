import { describe, expect, it } from 'vitest';
import { parseCampaignFile } from '../../src/cli/campaignFile.ts';

const mistake = (text: string): string => {
  try {
    parseCampaignFile(text, 'c.yaml');
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
};

describe('a campaign file', () => {
  it('is read with units and dates made exact', () => {
    const file = parseCampaignFile(
      'name: c1\nsources:\n  - pypi: cachetools\n    max_instances: 3\n  - git: ../x.git\n  - github: a/b\n  - mutate: parse==1.20.2\n  - mutate: [six, ../y]\n    seed: 3\n    kinds: [swap]\nsince: 2024-01-01\nruntimes: ["3.11"]\nlimits: { timeout_seconds: 60 }\n',
      'c.yaml',
    );
    expect(file.sources).toEqual([
      { pypi: 'cachetools', max_instances: 3 },
      { git: '../x.git' },
      { github: 'a/b' },
      { mutate: ['parse==1.20.2'] },
      { mutate: ['six', '../y'], seed: 3, kinds: ['swap'] },
    ]);
    expect(file.since).toBe('2024-01-01T00:00:00Z');
    expect(file.limits?.timeout_seconds).toBe(60);
  });

  it.each([
    [
      'a misspelt key at the top',
      'name: c\nsorces:\n  - pypi: x\nsources:\n  - pypi: x\n',
      'c.yaml:2:1: unknown key "sorces"; did you mean "sources"?',
    ],
    [
      'a misspelt key in a source',
      'name: c\nsources:\n  - pypi: x\n    max_instance: 3\n',
      'c.yaml:4:5: unknown key "max_instance"; did you mean "max_instances"?',
    ],
    [
      'a misspelt key that had to be there',
      'name: c\nsorces:\n  - pypi: x\n',
      'c.yaml:2:1: unknown key "sorces"; did you mean "sources"?',
    ],
    [
      'a misspelt kind of source',
      'name: c\nsources:\n  - pipy: x\n',
      'c.yaml:3:5: unknown key "pipy"; did you mean "pypi"?',
    ],
    [
      'a source of two kinds',
      'name: c\nsources:\n  - pypi: x\n    git: y\n',
      'c.yaml:4:5: "sources.0": a source needs exactly one of the keys pypi, git, github or mutate',
    ],
    [
      'a misspelt limit',
      'name: c\nsources: [{pypi: x}]\nlimits:\n  timeout: 3\n',
      'c.yaml:4:3: unknown key "timeout"; known keys: timeout_seconds, memory_megabytes, cpus, pids.',
    ],
    [
      'a source of no known kind',
      'name: c\nsources:\n  - npm: x\n',
      'c.yaml:3:5: "sources.0": a source needs exactly one of the keys pypi, git, github or mutate',
    ],
    [
      'a mutated package that is none',
      'name: c\nsources:\n  - mutate: [six, "six=1"]\n',
      'c.yaml:3:19: "sources.0.mutate.1": expected a package, package==version, or a clone with a / in it',
    ],
    [
      'an unknown kind of bug',
      'name: c\nsources:\n  - mutate: six\n    kinds: [typo]\n',
      /^c\.yaml:4:13: "sources\.0\.kinds\.0": .*"argument"\|"bound"/,
    ],
    [
      'a seed without a package',
      'name: c\nsources:\n  - seed: 3\n',
      'c.yaml:3:5: "sources.0": a source needs exactly one of the keys pypi, git, github or mutate',
    ],
    [
      'an unquoted version',
      'name: c\nsources: [{pypi: x}]\nruntimes: [3.10]\n',
      'c.yaml:3:12: "runtimes.0": quote runtime versions: YAML reads 3.10 as the number 3.1',
    ],
    [
      'a name that cannot be a path',
      'name: a/b\nsources: [{pypi: x}]\n',
      'c.yaml:1:7: "name": "a/b" is not a valid name: use 1 to 100 letters, digits, dots, dashes or underscores, starting with a letter or digit.',
    ],
    ['no sources', 'name: c\n', 'c.yaml:1:1: "sources" is missing'],
    ['broken YAML', 'name: [c\nsources: 3\n', /^c\.yaml:2:\d+: not valid YAML: /],
  ])('with %s is refused in one sentence that names the place', (_title, text, message) => {
    if (typeof message === 'string') expect(mistake(text)).toBe(message);
    else expect(mistake(text)).toMatch(message);
  });
});
