import { describe, expect, test } from 'vitest';
import {
  describedVersion,
  isPullRequestMerge,
  readCommitMessage,
  repositoryName,
} from '../../src/domain/commitText.ts';

describe('a commit message', () => {
  test('loses its trailers and keeps the rest', () => {
    const message =
      'Fix the parser (#42)\n\nIt failed on tabs.\n\nFixes #12, closes GH-13\n\nSigned-off-by: A <a@b>\nCo-authored-by: B <b@c>\n';
    expect(readCommitMessage(message)).toEqual({
      text: 'Fix the parser (#42)\n\nIt failed on tabs.\n\nFixes #12, closes GH-13',
      pullRequests: [42],
      issues: [12, 13],
    });
  });

  test('of a pull request merge is its title, not its boilerplate', () => {
    expect(readCommitMessage('Merge pull request #7 from a/b\n\nHandle empty input\n')).toEqual({
      text: 'Handle empty input',
      pullRequests: [7],
      issues: [],
    });
  });

  test.each([
    ['Merge pull request #7 from a/b', true],
    ['Merged in x (pull request #9)', true],
    ["Merge branch 'x' into 'main'\n\nText\n\nSee merge request g/p!12", true],
    ["Merge branch 'master' into topic", false],
    ['Fix merge pull request handling', false],
  ])('%j is a pull request merge: %s', (message, expected) => {
    expect(isPullRequestMerge(message)).toBe(expected);
  });
});

test.each([
  ['v1.2.3-0-gabc123', { tag: '1.2.3', version: '1.2.3' }],
  ['v1.2.3-4-gabc123', { tag: '1.2.3', version: '1.2.4.dev4' }],
  ['pkg-2.0-1-gabc', { tag: '2.0', version: '2.1.dev1' }],
  ['1.0rc1-2-gabc', { tag: '1.0rc1', version: '1.0rc2.dev2' }],
  ['nightly-3-gabc', null],
])('git describe %s gives %j', (text, expected) => {
  expect(describedVersion(text)).toEqual(expected);
});

test.each([
  ['https://example.org/pallets/jinja.git', 'pallets', 'jinja'],
  ['https://user:secret@example.org/a/b/', 'a', 'b'],
  ['git@example.org:group/sub/name.git', 'group/sub', 'name'],
  ['ssh://git@example.org/x/y', 'x', 'y'],
  ['/srv/git/project.git', 'local', 'project'],
  ['/srv/git/project/.git', 'local', 'project'],
  ['file:///srv/git/project', 'local', 'project'],
])('%s is %s / %s', (url, owner, name) => {
  expect(repositoryName(url)).toEqual({ owner, name });
});
