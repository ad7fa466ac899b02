import type { Ini } from './ini.ts';
import { iniLines } from './ini.ts';
import type { ProjectMetadata } from './projectMetadata.ts';
import { normaliseName } from '../../domain/packageName.ts';
import { parseRequirement, parseRequirementsFile } from './requirements.ts';

/** Files of one tree, read into memory: what detection works on. */
export interface TreeTexts {
  /** Every path of the tree. */
  readonly paths: ReadonlySet<string>;
  /** null when the path is not in the tree or was not read. */
  readonly text: (path: string) => string | null;
}

/** First tier: named for tests. Second tier, asked only when the first gives nothing: for developers at large. */
const TEST_NAMES = ['test', 'tests', 'testing', 'pytest', 'unittest', 'hatch-test'];
const DEV_NAMES = ['dev', 'develop', 'development'];
const TEST_FILES =
  /^(?:requirements[/_-])?(?:requirements[_-])?(?:tests?|testing)(?:[_-]?requirements)?\.(?:txt|in|pip)$|^tests?\/requirements\.txt$/i;
const DEV_FILES =
  /^(?:requirements[/_-])?(?:requirements[_-])?dev(?:el|elop|elopment)?(?:[_-]?requirements)?\.(?:txt|in|pip)$/i;

export interface TestRequirements {
  readonly lines: readonly string[];
  /** Where they came from, for the record, e.g. `extra:test`. */
  readonly sources: readonly string[];
}

/** True for files that detection should read because they may name test requirements. */
export const isRequirementsFile = (path: string): boolean =>
  path.split('/').length <= 3 &&
  /requirements|^requirements?\/|test|dev/i.test(path) &&
  /\.(?:txt|in|pip)$/.test(path);

/**
 * Requirements of the tests, from what names them best: extras, dependency groups, requirements files, tox and
 * `tests_require`; then the same for developers at large; `pip install` lines of CI workflows as the last resort.
 */
export function testRequirements(
  tree: TreeTexts,
  metadata: ProjectMetadata,
  inis: { readonly tox: Ini | null; readonly setupCfg: Ini | null },
  testsRequire: readonly string[],
): TestRequirements {
  const extras = metadata.extras ?? {};
  const lines: string[] = [];
  const sources: string[] = [];
  const add = (source: string, members: readonly string[]): void => {
    if (members.length === 0) return;
    lines.push(...members);
    sources.push(source);
  };
  const takeNamed = (names: readonly string[], files: RegExp): void => {
    for (const name of names) add(`extra:${name}`, expandExtra(name, metadata));
    for (const name of names) add(`group:${name}`, metadata.groups[name] ?? []);
    for (const path of [...tree.paths].filter((candidate) => files.test(candidate)).toSorted()) {
      add(`file:${path}`, requirementsOf(tree, path, metadata));
    }
  };
  takeNamed(TEST_NAMES, TEST_FILES);
  for (const ini of [inis.tox, inis.setupCfg])
    if (ini !== null) add('tox', toxRequirements(tree, ini, metadata));
  add('tests_require', testsRequire);
  if (!lines.some(parseRequirement)) takeNamed(DEV_NAMES, DEV_FILES);
  if (!lines.some(parseRequirement)) {
    for (const path of [...tree.paths]
      .filter((name) => /^\.github\/workflows\/[^/]+\.ya?ml$/.test(name))
      .toSorted()) {
      add(`ci:${path}`, workflowRequirements(tree.text(path) ?? '', extras));
    }
  }
  return { lines, sources };
}

/** Members of an extra; an extra of the project's own name (`pkg[test]`) is expanded in place. */
export function expandExtra(
  name: string,
  metadata: Pick<ProjectMetadata, 'name' | 'extras'>,
  seen: ReadonlySet<string> = new Set(),
): readonly string[] {
  const own = metadata.name === null ? null : normaliseName(metadata.name);
  const wanted = normaliseName(name);
  if (seen.has(wanted)) return [];
  const inner = new Set([...seen, wanted]);
  return (metadata.extras?.[wanted] ?? []).flatMap((line) => {
    const requirement = parseRequirement(line);
    if (requirement === null || requirement.name !== own) return [line];
    return requirement.extras.flatMap((extra) => expandExtra(extra, metadata, inner));
  });
}

function requirementsOf(
  tree: TreeTexts,
  path: string,
  metadata: ProjectMetadata,
  seen: ReadonlySet<string> = new Set(),
): readonly string[] {
  const text = tree.text(path);
  if (text === null || seen.has(path)) return [];
  const file = parseRequirementsFile(text);
  const folder = path.includes('/') ? path.slice(0, path.lastIndexOf('/') + 1) : '';
  const inner = new Set([...seen, path]);
  return [
    ...file.requirements,
    ...file.selfExtras.flatMap((extra) => expandExtra(extra, metadata)),
    ...file.includes.flatMap((include) =>
      requirementsOf(tree, normalisePath(`${folder}${include}`), metadata, inner),
    ),
  ];
}

function normalisePath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '.' && part !== '') parts.push(part);
  }
  return parts.join('/');
}

/** `deps`, `extras` and `dependency_groups` of `[testenv]` (in setup.cfg: `[tox:testenv]` or `[testenv]`). */
function toxRequirements(tree: TreeTexts, ini: Ini, metadata: ProjectMetadata): readonly string[] {
  const section = ini.get('testenv') ?? ini.get('tox:testenv');
  if (section === undefined) return [];
  const found: string[] = [];
  for (const raw of iniLines(section.get('deps'))) {
    // `py27: mock` and `docs,!lint: x` hold for other environments of tox
    const line = raw.replace(/^!?[\w.,!{}-]+:\s+/, (factor) =>
      /^(?:py3\d*|py|test|tests)[,:]/.test(factor) ? '' : `#${factor}`,
    );
    if (line.startsWith('#') || line.includes('{')) continue;
    const file = parseRequirementsFile(line);
    found.push(...file.requirements);
    found.push(...file.selfExtras.flatMap((extra) => expandExtra(extra, metadata)));
    found.push(...file.includes.flatMap((include) => requirementsOf(tree, normalisePath(include), metadata)));
  }
  const words = (key: string): readonly string[] =>
    iniLines(section.get(key)).flatMap((line) => line.split(/[\s,]+/));
  found.push(...words('extras').flatMap((extra) => expandExtra(extra, metadata)));
  found.push(...words('dependency_groups').flatMap((group) => metadata.groups[normaliseName(group)] ?? []));
  return found;
}

/** Plain names after `pip install` in a workflow's commands. */
function workflowRequirements(
  text: string,
  extras: Readonly<Record<string, readonly string[]>>,
): readonly string[] {
  const found: string[] = [];
  for (const match of text.matchAll(/\bpip3?\s+install\s+([^\n|&;]+)/g)) {
    for (const word of (match[1] ?? '').split(/\s+/).map((part) => part.replace(/^['"]|['"]$/g, ''))) {
      const itself = /^\.\/?\[([^\]]+)\]$/.exec(word)?.[1];
      if (itself !== undefined)
        found.push(...itself.split(',').flatMap((extra) => extras[normaliseName(extra)] ?? []));
      else if (
        /^[A-Za-z][A-Za-z0-9._-]*(?:\[[\w,-]+\])?(?:[<>=!~]=?[\w.*,<>=!~]+)?$/.test(word) &&
        !/\.(?:txt|in|whl|gz)$/.test(word)
      ) {
        found.push(word);
      }
    }
  }
  return found;
}
