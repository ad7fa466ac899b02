import { describe, expect, test } from 'vitest';
import { changelogEntry, changelogPaths, versionIn } from '../../src/domain/changelog.ts';

const query = (version: string, baseVersion: string, own: readonly string[] = []) => ({
  version,
  baseVersion,
  isOwnRelease: (other: string) => own.includes(other),
});

const LAYOUTS: readonly (readonly [string, string])[] = [
  [
    'rst, underlined with date (cachetools)',
    'v1.2.3 (2024-02-26)\n===================\n\n- Fix it.\n\n\nv1.2.2 (2024-01-01)\n===================\n\n- Old.\n',
  ],
  [
    'rst, same underline for sections (jinja2)',
    'Version 1.2.3\n-------------\n\nReleased 2024-01-10\n\n-   Fix it.\n\n\nVersion 1.2.2\n-------------\n\n-   Old.\n',
  ],
  [
    'rst with labels and a title (more-itertools)',
    '===============\nVersion History\n===============\n\n.. _v1.2.3:\n\n1.2.3\n-----\n\n* Fix it.\n\n.. _v1.2.2:\n\n1.2.2\n-----\n\n* Old.\n',
  ],
  [
    'plain with Release (sqlparse)',
    'Development Version\n-------------------\n\nNothing yet.\n\n\nRelease 1.2.3 (Sep 27, 2017)\n----------------------------\n\nBug Fixes\n\n* Fix it.\n\n\nRelease 1.2.2 (Aug 1, 2017)\n---------------------------\n\n* Old.\n',
  ],
  [
    'keep a changelog with links',
    '# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2024-02-26\n\n### Fixed\n\n- Fix it.\n\n## [1.2.2] - 2024-01-01\n\n- Old.\n\n[1.2.3]: https://example.org/compare\n',
  ],
  [
    'markdown with a link as title (attrs)',
    '# Changelog\n\n<!-- towncrier -->\n\n## [1.2.3](https://example.org/tree/1.2.3) - 2023-12-31\n\n### Changes\n\n- Fix it.\n\n## [1.2.2](https://example.org/tree/1.2.2) - 2023-01-01\n\n- Old.\n',
  ],
  [
    'markdown, date in italics (boltons)',
    '# boltons Changelog\n\n## 1.2.3\n\n_(October 31, 2023)_\n\n- Fix it.\n\n## 1.2.2\n\n- Old.\n',
  ],
  [
    'rst with overline (towncrier)',
    '=========\nChangelog\n=========\n\npkg 1.2.3 (2024-01-01)\n======================\n\nBugfixes\n--------\n\n- Fix it.\n\n\npkg 1.2.2 (2023-01-01)\n======================\n\n- Old.\n',
  ],
  [
    'plain lines without rules',
    'Changes\n\n1.2.3 (2012-03-04)\n  * Fix it.\n\n1.2.2 (2012-01-01)\n  * Old.\n',
  ],
  ['bold titles', '**1.2.3** (2020-01-01)\n\n- Fix it.\n\n**1.2.2** (2019-01-01)\n\n- Old.\n'],
  ['windows line ends', '1.2.3\r\n-----\r\n\r\n* Fix it.\r\n\r\n1.2.2\r\n-----\r\n\r\n* Old.\r\n'],
];

describe('the entry of a release', () => {
  test.each(LAYOUTS)('is found in %s', (_name, text) => {
    const entry = changelogEntry(text, query('1.2.3', '1.2.2', ['1.2.2']));
    expect(entry).toContain('Fix it.');
    expect(entry).not.toContain('Old.');
    expect(entry).not.toMatch(/1\.2\.[23]/);
  });

  test.each(LAYOUTS)('of an unknown version is null in %s', (_name, text) => {
    expect(changelogEntry(text, query('9.9.9', '9.9.8'))).toBeNull();
  });

  test('holds those of pre-releases and yanked versions before it, but not those of other releases', () => {
    const text = '## 2.0.0\n- final\n\n## 2.0.0rc1\n- candidate\n\n## 1.9.1\n- backport\n\n## 1.9.0\n- old\n';
    const entry = changelogEntry(text, query('2.0.0', '1.9.0', ['2.0.0', '1.9.1', '1.9.0']));
    expect(entry).toBe('- final\n\n- candidate');
  });

  test('keeps the headings inside it and code that looks like one', () => {
    const text = '## 1.1\n\n### Added\n\n```\n# 1.0\n```\n\n### Fixed\n\n- x\n\n## 1.0\n\n- y\n';
    expect(changelogEntry(text, query('1.1', '1.0', ['1.0']))).toBe(
      '### Added\n\n```\n# 1.0\n```\n\n### Fixed\n\n- x',
    );
  });
});

test.each([
  ['1.2.3', '1.2.3'],
  ['[1.2.3] - 2020-01-01', '1.2.3'],
  ['Version 2.0rc1 (unreleased)', '2.0rc1'],
  ['pkg v3.1', '3.1'],
  ['2020-01-01 - 1.4', '1.4'],
  ['v44 (May 2020)', '44'],
  ['Python 3 support', null],
  ['Bug fixes', null],
  ['2020', '2020'],
])('the version in "%s" is %s', (title, version) => {
  expect(versionIn(title)).toBe(version);
});

test('changelog files are ordered: top level, docs, files named after the version; tests never', () => {
  const paths = [
    'docs/releases/1.2.3.md',
    'docs/changes.rst',
    'tests/CHANGES.txt',
    'CHANGELOG.md',
    'pkg/a.py',
    'docs/versions.rst',
  ];
  expect(changelogPaths(paths, '1.2.3')).toEqual([
    'CHANGELOG.md',
    'docs/changes.rst',
    'docs/versions.rst',
    'docs/releases/1.2.3.md',
  ]);
});
