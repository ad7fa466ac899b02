/** Facts of an instance, read from its mirror. */
import type { Candidate, InstanceRow } from '../domain/types.ts';
import { classifyPath } from '../domain/split.ts';
import { fileOfTest } from '../domain/testIds.ts';
import type { MirrorStore } from '../sources/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { AuditFacts, BaseFile } from './types.ts';

const PACKAGING = ['pyproject.toml', 'setup.cfg', 'setup.py', 'pytest.ini', 'tox.ini'];
const SHORTEST_NEEDLE = 24;

/** Reads what attacks are computed from. Throws Infra when the mirror lacks the row's commits. */
export async function readFacts(
  deps: { readonly store: ArtefactStore; readonly mirrors: MirrorStore },
  row: InstanceRow,
): Promise<AuditFacts> {
  const candidate = await deps.store.getJson<Candidate>(row.candidate);
  const mirror = await deps.mirrors.open(candidate.mirror);
  const { baseCommit, testCommit } = candidate;
  const paths = (await mirror.listTree(baseCommit)).map(({ path }) => path);
  const testFiles = [...new Set([...row.FAIL_TO_PASS, ...row.PASS_TO_PASS].map(fileOfTest))];
  const tests = await mirror.readFiles(testCommit, testFiles);
  const roots = ['', ...(paths.some((path) => path.startsWith('src/')) ? ['src'] : [])];
  const testTexts = testFiles.map((path) => tests.get(path)?.toString('utf8') ?? '');
  const victim =
    importedSource(testTexts, new Set(paths), roots) ?? paths.find((path) => isSource(path)) ?? '';
  const read = await mirror.readFiles(baseCommit, [victim, ...PACKAGING, ...row.test_scope]);
  const base = await sourceLines(
    mirror.readFiles(
      baseCommit,
      paths.filter((path) => /\.(py|md|rst|txt)$/.test(path)),
    ),
  );
  return {
    row,
    paths,
    imported: { path: victim, text: read.get(victim)?.toString('utf8') ?? '' },
    roots,
    tests: texts(read, row.test_scope),
    packaging: texts(read, PACKAGING),
    needle: unmistakable(row.patch, base),
    hiddenTestLine: unmistakable(row.test_patch, base),
  };
}

const texts = (files: ReadonlyMap<string, Buffer>, paths: readonly string[]): ReadonlyMap<string, string> =>
  new Map(
    [...files].flatMap(([path, content]) => (paths.includes(path) ? [[path, content.toString('utf8')]] : [])),
  );

const isSource = (path: string): boolean => path.endsWith('.py') && classifyPath(path) === 'source';

/** The file behind the first import of a test that leads into the tree's sources: executed before any test is. */
export function importedSource(
  tests: readonly string[],
  paths: ReadonlySet<string>,
  roots: readonly string[],
): BaseFile['path'] | null {
  for (const text of tests) {
    for (const [, module = ''] of text.matchAll(/^\s*(?:from|import)\s+([A-Za-z_]\w*)/gm)) {
      for (const root of roots) {
        const stem = root === '' ? module : `${root}/${module}`;
        const found = [`${stem}/__init__.py`, `${stem}.py`].find((path) => paths.has(path) && isSource(path));
        if (found !== undefined) return found;
      }
    }
  }
  return null;
}

/** The longest line that a patch adds and the base does not have. */
function unmistakable(patch: string, base: ReadonlySet<string>): string | null {
  const added = patch
    .split('\n')
    .filter((line) => line.startsWith('+') && !line.startsWith('+++'))
    .map((line) => line.slice(1).trim())
    .filter((line) => line.length >= SHORTEST_NEEDLE && !base.has(line) && /^[\x20-\x7e]+$/.test(line));
  return added.toSorted((a, b) => b.length - a.length)[0] ?? null;
}

async function sourceLines(reading: Promise<ReadonlyMap<string, Buffer>>): Promise<ReadonlySet<string>> {
  const lines = [...(await reading).values()].flatMap((content) => content.toString('utf8').split('\n'));
  return new Set(lines.map((line) => line.trim()));
}
