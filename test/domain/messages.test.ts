import { expect, test } from 'vitest';
import { DEFAULT_CAMPAIGN_OPTIONS, campaignProblem } from '../../src/domain/campaign.ts';
import type { SourceSpec } from '../../src/domain/sourceSpec.ts';

const problem = (...sources: readonly SourceSpec[]): string | undefined =>
  campaignProblem({ name: 'c', queuePrefix: 'p', sources, options: DEFAULT_CAMPAIGN_OPTIONS });

test.each<readonly [SourceSpec, SourceSpec]>([
  [{ pypi: 'more-itertools' }, { pypi: 'More_Itertools' }],
  [{ github: 'Owner/Repo' }, { github: 'owner/repo' }],
  [{ git: '/srv/project' }, { git: '/srv/project.git/' }],
])('two spellings of one source are one source: %j and %j', (first, second) => {
  expect(problem(first)).toBeUndefined();
  expect(problem(first, second)).toMatch(/^The source .+ is named twice\.$/);
});

test('sources of different kinds, and different sources of a kind, go together', () => {
  expect(problem({ pypi: 'a' }, { pypi: 'b' }, { git: 'a' }, { github: 'a/b' })).toBeUndefined();
});

test.each(['../x', '-a', 'a b', '', 'a.'])('%j is not a package name, and nothing is started', (name) => {
  expect(problem({ pypi: name })).toBe(`"${name}" is not a package name.`);
});
