import { describe, expect, test } from 'vitest';
import { retryAfterMs } from '../../src/sources/http.ts';
import { licenseFromText } from '../../src/sources/license.ts';
import { parseMetadata } from '../../src/sources/metadata.ts';
import { patternsIn } from '../../src/sources/pythonFiles.ts';
import { parseHtmlIndex, sdistVersion } from '../../src/sources/simpleIndex.ts';

const info = (...lines: readonly string[]): string =>
  ['Metadata-Version: 2.1', 'Name: demo', ...lines, '', 'Body', ''].join('\n');

describe('the licence in package metadata', () => {
  test.each([
    [
      'an expression wins',
      info('License-Expression: MIT OR Apache-2.0', 'License: other'),
      'MIT OR Apache-2.0',
    ],
    [
      'one classifier with one meaning',
      info('License: see file', 'Classifier: License :: OSI Approved :: MIT License'),
      'MIT',
    ],
    [
      'a classifier with several meanings is kept as it is',
      info('Classifier: License :: OSI Approved :: BSD License'),
      'BSD License',
    ],
    [
      'two classifiers',
      info(
        'Classifier: License :: OSI Approved :: MIT License',
        'Classifier: License :: OSI Approved :: BSD License',
      ),
      'MIT License; BSD License',
    ],
    ['a common name', info('License: Apache 2.0'), 'Apache-2.0'],
    ['the first line of a whole text', info('License: My licence', '        second line'), 'My licence'],
    ['UNKNOWN', info('License: UNKNOWN'), null],
    ['nothing', info(), null],
  ])('%s', (_name, text, expected) => {
    expect(parseMetadata(text).license).toBe(expected);
  });

  test('and the description, as body or as folded header', () => {
    expect(parseMetadata(info()).description).toBe('Body\n');
    const folded =
      'Name: demo\nDescription: Title\n        =====\n        \n        1.0\n        ---\nPlatform: any\n';
    expect(parseMetadata(folded).description).toBe('Title\n=====\n\n1.0\n---');
  });
});

test.each([
  ['Permission is hereby granted, free of charge,\nto any person obtaining a copy of', 'MIT'],
  ['Redistributions in binary form must reproduce ... Neither the name of X', 'BSD-3-Clause'],
  ['Redistributions in binary form must reproduce the above', 'BSD-2-Clause'],
  ['Apache License\n    Version 2.0, January 2004', 'Apache-2.0'],
  ['Apache License Version 2.0 ... Redistributions in binary form must reproduce', null],
  ['All rights reserved', null],
])('the licence text %j is %s', (text, expected) => {
  expect(licenseFromText(text)).toBe(expected);
});

test.each([
  ['pytest.ini', '[pytest]\npython_files = check_*.py tests.py\n', ['check_*.py', 'tests.py']],
  ['pytest.ini', '', []],
  [
    'setup.cfg',
    '[tool:pytest]\npython_files =\n    check_*.py\n    test_*.py\n[other]\npython_files = no\n',
    ['check_*.py', 'test_*.py'],
  ],
  ['setup.cfg', '[metadata]\nname = a\n', null],
  ['tox.ini', '[tox]\n\n[pytest]\naddopts = -q\n', []],
  ['pyproject.toml', '[tool.pytest.ini_options]\npython_files = ["check_*.py"]\n', ['check_*.py']],
  ['pyproject.toml', '[tool.pytest.ini_options]\npython_files = "a_*.py b_*.py"\n', ['a_*.py', 'b_*.py']],
  ['pyproject.toml', '[project]\nname = "a"\n', null],
  ['pyproject.toml', 'not toml [', null],
])('%s with %j sets python_files %j', (name, text, expected) => {
  expect(patternsIn(name, text)).toEqual(expected);
});

test.each([
  ['demo-1.0.tar.gz', '1.0'],
  ['Demo_Pkg-1.0.zip', null],
  ['demo-1.0-py3-none-any.whl', null],
  ['demo-extra-1.0.tar.gz', null],
  ['demo-1.0-beta.tar.gz', '1.0b0'],
  ['demo-latest.tar.gz', null],
])('%s is an sdist of demo with version %s', (filename, version) => {
  expect(sdistVersion('demo', filename)).toBe(version);
});

test('an sdist name may have dashes, dots and capitals', () => {
  expect(sdistVersion('demo-pkg', 'Demo.Pkg-1.0.zip')).toBe('1.0');
  expect(sdistVersion('demo-pkg', 'demo_pkg-1.0.tar.gz')).toBe('1.0');
});

test('an HTML index may use entities, a base address, fragments and yanked marks', () => {
  const page =
    '<html><head><base href="/base/"></head><body><a href="f/demo-1.0.tar.gz?a=1&amp;b=2#sha256=AB">x</a><a data-yanked href="f/demo-2.0.tar.gz">y</a><a>z</a></body></html>';
  expect(parseHtmlIndex(page, 'http://h/simple/demo/')).toEqual([
    {
      filename: 'demo-1.0.tar.gz',
      url: 'http://h/base/f/demo-1.0.tar.gz?a=1&b=2',
      sha256: 'ab',
      bytes: null,
      uploaded: null,
      yanked: false,
    },
    {
      filename: 'demo-2.0.tar.gz',
      url: 'http://h/base/f/demo-2.0.tar.gz',
      sha256: null,
      bytes: null,
      uploaded: null,
      yanked: true,
    },
  ]);
});

test.each([
  ['7', 7_000],
  ['Thu, 01 Jan 1970 00:01:00 GMT', 60_000],
  ['Thu, 01 Jan 1960 00:00:00 GMT', 0],
  ['999999', 3_600_000],
  ['soon', null],
  [null, null],
])('Retry-After %s is %s ms at the epoch', (header, expected) => {
  expect(retryAfterMs(header, 0)).toBe(expected);
});
