import { expect, test } from 'vitest';
import { DEFAULT_CAMPAIGN_OPTIONS, campaignProblem } from '../../src/domain/campaign.ts';
import type { SourceSpec } from '../../src/domain/sourceSpec.ts';

const problem = (...sources: readonly SourceSpec[]): string | undefined =>
  campaignProblem({ name: 'c', queuePrefix: 'p', sources, options: DEFAULT_CAMPAIGN_OPTIONS });

test.each<readonly [SourceSpec, SourceSpec]>([
  [{ pypi: 'more-itertools' }, { pypi: 'More_Itertools' }],
  [{ github: 'Owner/Repo' }, { github: 'owner/repo' }],
  [{ mutate: 'more-itertools==10.0' }, { mutate: 'More_Itertools' }],
  [{ mutate: '../project' }, { mutate: '../project.git' }],
  [{ git: '/srv/project' }, { git: '/srv/project.git/' }],
])('two spellings of one source are one source: %j and %j', (first, second) => {
  expect(problem(first)).toBeUndefined();
  expect(problem(first, second)).toMatch(/^The source .+ is named twice\.$/);
});

test('sources of different kinds, and different sources of a kind, go together', () => {
  expect(
    problem({ pypi: 'a' }, { pypi: 'b' }, { git: 'a' }, { github: 'a/b' }, { mutate: 'a' }),
  ).toBeUndefined();
});

test.each(['../x', '-a', 'a b', '', 'a.'])('%j is not a package name, and nothing is started', (name) => {
  expect(problem({ pypi: name })).toBe(`"${name}" is not a package name.`);
});

test.each(['a b', 'a=1', ''])('%j is nothing to put bugs into, and nothing is started', (mutate) => {
  expect(problem({ mutate })).toBe(
    `"${mutate}" is neither a package (name, or name==version) nor a path or URL of a clone.`,
  );
});
