import { describe, expect, test } from 'vitest';
import { findLeak, postImageOids } from '../../../src/ecosystems/python/leaks.ts';
import type { EnvironmentIndex } from '../../../src/ecosystems/python/leaks.ts';

const oid = (digit: string): string => digit.repeat(40);
const index: EnvironmentIndex = {
  top: ['_pytest', 'more_itertools-9.0.dist-info', 'pluggy', 'setuptools', 'six.py'],
  files: [
    ['_pytest/__init__.py', 400, oid('1')],
    ['setuptools/_vendor/more_itertools/more.py', 90_000, oid('2')],
    ['setuptools/_vendor/jaraco/text.py', 9_000, oid('3')],
    ['six.py', 34_000, oid('4')],
    ['copied/elsewhere.py', 5_000, oid('5')],
    ['copied/__init__.py', 0, oid('6')],
  ],
};

describe('a leak is', () => {
  test.each([
    [
      "the project's own distribution",
      { name: 'More.Itertools', importRoots: [], goldOids: [] },
      'distribution',
      'more_itertools-9.0.dist-info',
    ],
    [
      "a module of the project's name",
      { name: 'other', importRoots: ['six'], goldOids: [] },
      'package',
      'six.py',
    ],
    [
      'a vendored copy',
      { name: 'x', importRoots: ['more_itertools'], goldOids: [] },
      'vendored',
      'setuptools/_vendor/more_itertools/more.py',
    ],
    [
      'a vendored namespace member',
      { name: 'x', importRoots: ['jaraco/text'], goldOids: [] },
      'vendored',
      'setuptools/_vendor/jaraco/text.py',
    ],
    [
      'a file equal to one of the fix',
      { name: 'x', importRoots: ['x'], goldOids: [oid('5').slice(0, 10)] },
      'gold_file',
      'copied/elsewhere.py',
    ],
  ] as const)('%s', (_title, question, kind, path) => {
    expect(findLeak(index, question)).toEqual({ kind, path });
  });

  test('not an empty file, nor a package whose name merely begins alike', () => {
    expect(
      findLeak(index, {
        name: 'plug',
        importRoots: ['plug', 'setup', 'jaraco/functools'],
        goldOids: [oid('6')],
      }),
    ).toBeNull();
  });
});

test('post-image ids are read from the diff, deletions and mode lines aside', () => {
  const patch = `diff --git a/a.py b/a.py\nindex ${oid('a')}..${oid('b')} 100644\n--- a/a.py\n+++ b/a.py\ndiff --git a/c b/c\nnew file mode 100644\nindex ${oid('0')}..${oid('c')}\ndiff --git a/d b/d\ndeleted file mode 100644\nindex ${oid('d')}..${oid('0')}\n`;
  expect(postImageOids(patch)).toEqual([oid('b'), oid('c')]);
});
