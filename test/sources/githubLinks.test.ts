import { expect, test } from 'vitest';
import { linkedIssues } from '../../src/sources/githubLinks.ts';

const cases: readonly (readonly [text: string, issues: readonly number[]])[] = [
  ['close #1', [1]],
  ['Closes #2', [2]],
  ['CLOSED #3', [3]],
  ['fix #4 and fixes #5, fixed #6', [4, 5, 6]],
  ['resolve #7; resolves #8. Resolved #9!', [7, 8, 9]],
  ['Fixes: #10', [10]],
  ['fixes GH-11', [11]],
  ['Fixes octo/widget#12', [12]],
  ['fixes Octo/Widget#13', [13]],
  ['Fixes https://github.com/octo/widget/issues/14', [14]],
  ['Fixes https://github.com/octo/widget/issues/15#issuecomment-99', [15]],
  ['(fixes #16)', [16]],
  ['fixes #1\n\nfixes #1', [1]],
  ['fixes #17\r\ncloses #18', [17, 18]],
  // each number needs its own keyword, as on GitHub
  ['fixes #19, #20', [19]],
  ['see #21, part of #22, #23', []],
  ['fixes other/project#24', []],
  ['fixes https://github.com/other/project/issues/25', []],
  ['fixes https://example.org/octo/widget/issues/26', []],
  ['fixes https://github.com/octo/widget/pull/27', []],
  ['fixes octo/widget-extra#28', []],
  ['prefix #29, bugfix #30, unfixed #31, hot-fix #32, fixing #33, fixture #34', []],
  ['fixes #35abc', []],
  ['fixes #0', []],
  ['fixes the issue in #36', []],
  ['<!-- write "fixes #37" if it closes an issue -->', []],
  ['<!-- never closed, fixes #38', []],
  ['`fixes #39`', []],
  ['```\nfixes #40\n```\nfixes #41', [41]],
  ['~~~~\nfixes #42\n~~~\n~~~~\nfixes #43', [43]],
  ['> fixes #44\n\nno, it fixes #45', [45]],
  ['', []],
];

test.each(cases)('%j links %j', (text, issues) => {
  expect(linkedIssues([text], 'octo/widget')).toEqual(issues);
});

test('issues keep the order of their first mention over all texts', () => {
  expect(linkedIssues(['fixes #9', 'closes #2, closes #9', 'resolves #5'], 'octo/widget')).toEqual([9, 2, 5]);
});

test('full addresses of an Enterprise server link there and nowhere else', () => {
  const text =
    'fixes https://git.corp.example/octo/widget/issues/1, fixes https://github.com/octo/widget/issues/2';
  expect(linkedIssues([text], 'octo/widget', 'git.corp.example')).toEqual([1]);
});

test('a repository name is taken literally, not as a pattern', () => {
  expect(linkedIssues(['fixes octoXwidget/aXb#1, fixes octo.widget/a.b#2'], 'octo.widget/a.b')).toEqual([2]);
});
