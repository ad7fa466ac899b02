import type { TreeTexts } from './testRequirements.ts';

const NOT_MODULES =
  /^(?:setup|conftest|noxfile|tasks|fabfile|test.*|.*_test|versioneer|ez_setup|manage|runtests|bootstrap|docs?|example.*|bench.*|build)$/;
const NOT_PACKAGES = new Set([
  'tests',
  'test',
  'testing',
  'docs',
  'doc',
  'examples',
  'example',
  'benchmarks',
  'bench',
  'scripts',
  'tools',
  'build',
  'dist',
  'ci',
  '.github',
]);

/**
 * What `import` finds once the project is installed: packages at the root, under src/ or lib/, members of namespace
 * packages, and, where there is no package at all, modules.
 */
export function findImportRoots(tree: TreeTexts, name: string | null): readonly string[] {
  const roots = new Set<string>();
  for (const path of tree.paths) {
    const match = /^((?:src|lib)\/)?([A-Za-z_]\w*)\/(?:(\w+)\/)?__init__\.py$/.exec(path);
    const [, prefix = '', outer, inner] = match ?? [];
    if (outer === undefined || NOT_PACKAGES.has(outer)) continue;
    const namespace = isNamespace(tree, `${prefix}${outer}/__init__.py`);
    if (inner === undefined && !namespace) roots.add(outer);
    if (inner !== undefined && namespace) roots.add(`${outer}/${inner}`);
  }
  if (roots.size === 0) {
    for (const path of tree.paths) {
      const module = /^(?:src\/)?([A-Za-z_]\w*)\.py$/.exec(path)?.[1];
      if (module !== undefined && !NOT_MODULES.test(module)) roots.add(module);
    }
  }
  for (const root of rootsOfName(tree, name)) roots.add(root);
  return [...roots].toSorted();
}

const isNamespace = (tree: TreeTexts, init: string): boolean =>
  !tree.paths.has(init) || /pkgutil.*extend_path|declare_namespace/s.test(tree.text(init) ?? '');

/** `more-itertools` → `more_itertools`; `jaraco.functools` → `jaraco/functools` where the tree has such a module. */
function rootsOfName(tree: TreeTexts, name: string | null): readonly string[] {
  if (name === null) return [];
  const nested = name
    .toLowerCase()
    .split(/[-_.]+/)
    .join('/');
  const exists = ['', 'src/', 'lib/'].some((prefix) =>
    [`${prefix}${nested}.py`, `${prefix}${nested}/__init__.py`].some((path) => tree.paths.has(path)),
  );
  const flat = name.replace(/[-.]+/g, '_').toLowerCase();
  return exists ? [flat, nested] : [flat];
}

/** Names that `import` finds inside the repository itself. */
export function localNames(tree: TreeTexts): ReadonlySet<string> {
  const names = new Set<string>();
  for (const path of tree.paths) {
    const local = /^(?:src\/|lib\/|tests?\/)?([A-Za-z_]\w*)(?:\.py$|\/.*\.py$)/.exec(path)?.[1];
    if (local !== undefined) names.add(local);
  }
  return names;
}
