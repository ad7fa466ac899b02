import { makeRepository, pyproject } from './tinyProject.ts';

/** Functions that a bug of a few characters breaks, each with a test module of its own. */
const FUNCTIONS: Readonly<Record<string, { readonly code: string; readonly checks: readonly string[] }>> = {
  clamp: {
    code: `def clamp(value, low, high):
    if value < low:
        return low
    if value > high:
        return high
    return value
`,
    checks: ['clamp(1, 2, 5) == 2', 'clamp(9, 2, 5) == 5', 'clamp(3, 2, 5) == 3', 'clamp(2, 2, 5) == 2'],
  },
  middle: {
    code: `def middle(items):
    if len(items) == 0:
        return None
    ordered = sorted(items)
    return ordered[len(ordered) // 2]
`,
    checks: [
      'middle([]) is None',
      'middle([5, 1, 3]) == 3',
      'middle([4]) == 4',
      'middle([1, 2, 3, 4, 9]) == 3',
    ],
  },
  wrapped: {
    code: `def wrapped(text, mark, times):
    if times > 3:
        times = 3
    edge = mark * times
    return edge + text + edge
`,
    checks: [
      "wrapped('a', '*', 1) == '*a*'",
      "wrapped('a', '-', 9) == '---a---'",
      "wrapped('', '+', 2) == '++++'",
    ],
  },
  steps: {
    code: `def steps(start, stop, size):
    found = []
    for index in range(start, stop + 1):
        if (index - start) % size == 0:
            found.append(index)
    return found
`,
    checks: ['steps(0, 4, 2) == [0, 2, 4]', 'steps(1, 3, 1) == [1, 2, 3]', 'steps(5, 4, 1) == []'],
  },
};

/** Writes a project whose tests take milliseconds, for `mutate` to plant bugs in. */
export async function makeBugProject(dir: string): Promise<void> {
  const entries = Object.entries(FUNCTIONS);
  await makeRepository(dir, [
    {
      message: 'start',
      files: {
        'pyproject.toml': pyproject(''),
        'src/tiny/__init__.py': '',
        ...Object.fromEntries(entries.map(([name, { code }]) => [`src/tiny/${name}.py`, code])),
        ...Object.fromEntries(
          entries.map(([name, { checks }]) => [`tests/test_${name}.py`, testModule(name, checks)]),
        ),
      },
    },
  ]);
}

const testModule = (name: string, checks: readonly string[]): string =>
  [
    `from tiny.${name} import ${name}`,
    ...checks.map((check, at) => `\n\ndef test_${name}_${at}():\n    assert ${check}`),
    '',
  ].join('\n');
