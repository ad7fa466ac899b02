import { makeRepository, pyproject } from './tinyProject.ts';

/** One way of wavering: a function that the commit adds, and the tests that come with it. */
const CHANGES = {
  luck: {
    source: 'def value():\n    return 1\n',
    test: [
      'import random',
      'from shaky.luck import value',
      '',
      '',
      'def test_one_in_three_fails():',
      '    assert value() == 1 and random.SystemRandom().random() > 1 / 3',
    ],
  },
  order: {
    source: 'def value():\n    return 1\n',
    test: [
      'from shaky.order import value',
      '',
      'SEEN = []',
      '',
      '',
      'def test_goes_first():',
      '    SEEN.append(value())',
      '',
      '',
      'def test_needs_the_first():',
      '    assert SEEN == [1]',
    ],
  },
  clock: {
    source: 'def value():\n    return 1\n',
    test: [
      'import time',
      'from shaky.clock import value',
      '',
      '',
      'def test_even_seconds_only():',
      '    assert value() == 1 and int(time.time()) % 2 == 0',
    ],
  },
  port: {
    // no SO_REUSEADDR, and the server closes first: the port stays taken for a minute after the test
    source: [
      'import socket',
      '',
      '',
      'def serve(port):',
      '    with socket.socket() as server:',
      "        server.bind(('127.0.0.1', port))",
      '        server.listen()',
      "        with socket.create_connection(('127.0.0.1', port)) as client:",
      '            connection, _ = server.accept()',
      '            connection.close()',
      '            return client.recv(1)',
      '',
    ].join('\n'),
    test: [
      'from shaky.port import serve',
      '',
      '',
      'def test_takes_a_fixed_port():',
      "    assert serve(8765) == b''",
    ],
  },
  steady: {
    source: 'def value():\n    return 1\n',
    test: [
      'import pytest',
      'from shaky.steady import value',
      '',
      '',
      "@pytest.mark.parametrize('times', [1, 2, 3])",
      'def test_value(times):',
      '    assert value() * times == times',
      '',
      '',
      'def test_type():',
      '    assert isinstance(value(), int)',
    ],
  },
} as const;

export type FlakyChange = keyof typeof CHANGES;
const NAMES: readonly FlakyChange[] = ['luck', 'order', 'clock', 'port', 'steady'];

/** Ids of the tests that waver, by the change that brings them. `order` and `port` do so every time they are run again. */
export const WAVERING: Readonly<Record<Exclude<FlakyChange, 'steady'>, string>> = {
  luck: 'tests/test_luck.py::test_one_in_three_fails',
  order: 'tests/test_order.py::test_needs_the_first',
  clock: 'tests/test_clock.py::test_even_seconds_only',
  port: 'tests/test_port.py::test_takes_a_fixed_port',
};

/**
 * A project whose changes waver, each in a way of its own; the last one is steady, among all the tests that are not.
 * Returns the commit of each change.
 */
export async function makeFlakyRepository(dir: string): Promise<Readonly<Record<FlakyChange, string>>> {
  const broken = NAMES.map((name) => [`src/shaky/${name}.py`, 'def value():\n    return 0\n']);
  const [, ...commits] = await makeRepository(dir, [
    {
      message: 'start',
      files: {
        ...Object.fromEntries(broken),
        'pyproject.toml': pyproject(''),
        'src/shaky/__init__.py': '',
        'tests/test_base.py': 'import shaky\n\n\ndef test_base():\n    assert shaky\n',
      },
    },
    ...NAMES.map((name) => ({
      message: `${name} works`,
      files: {
        [`src/shaky/${name}.py`]: CHANGES[name].source,
        [`tests/test_${name}.py`]: `${CHANGES[name].test.join('\n')}\n`,
      },
    })),
  ]);
  return Object.fromEntries(NAMES.map((name, index) => [name, commits[index] ?? ''])) as Record<
    FlakyChange,
    string
  >;
}
