import { expect, test } from 'vitest';
import { touchesPackaging } from '../../../src/ecosystems/python/packaging.ts';

const PYPROJECT = `[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "x"
version = "1.0"
[project.scripts]
x = "x:main"
[tool.pytest.ini_options]
addopts = "-q"
`;
const change = (path: string, before: string | null = null, after: string | null = null) => ({
  path,
  before,
  after,
});
const rows: readonly (readonly [boolean, string, ReturnType<typeof change>])[] = [
  [false, 'a source', change('src/x/a.py')],
  [true, 'a C source', change('src/x/_speed.c')],
  [true, 'a Cython source', change('src/x/_speed.pyx')],
  [true, 'setup.py', change('setup.py')],
  [false, 'a new version number', change('pyproject.toml', PYPROJECT, PYPROJECT.replace('1.0', '1.1'))],
  [false, "the runner's table", change('pyproject.toml', PYPROJECT, PYPROJECT.replace('-q', '-v'))],
  [true, 'an entry point', change('pyproject.toml', PYPROJECT, PYPROJECT.replace('x:main', 'x:run'))],
  [
    true,
    'the build back-end',
    change('pyproject.toml', PYPROJECT, PYPROJECT.replace('setuptools"]', 'flit"]')),
  ],
  [true, 'a file that cannot be read', change('pyproject.toml', PYPROJECT, '[broken')],
  [true, 'a new pyproject.toml', change('pyproject.toml', null, PYPROJECT)],
  [
    false,
    'the runner section of setup.cfg',
    change('setup.cfg', '[tool:pytest]\na = 1\n', '[tool:pytest]\na = 2\n'),
  ],
  [
    false,
    'metadata of setup.cfg',
    change('setup.cfg', '[metadata]\nversion = 1\n', '[metadata]\nversion = 2\n'),
  ],
  [
    true,
    'options of setup.cfg',
    change('setup.cfg', '[options]\npackages = a\n', '[options]\npackages = b\n'),
  ],
  [
    false,
    'requirements of setup.cfg',
    change('setup.cfg', '[options]\ninstall_requires = a\n', '[options]\n'),
  ],
];
test.each(rows)('%s: a change of %s must be installed anew', (expected, _what, changed) => {
  expect(touchesPackaging([changed])).toBe(expected);
});
