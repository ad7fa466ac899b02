import { parse } from 'smol-toml';
import { normaliseName } from '../../domain/packageName.ts';
import { poetryMetadata } from './poetry.ts';
import { NO_METADATA, list, pythonClassifiers, string, strings, table } from './projectMetadata.ts';
import type { ProjectMetadata, Table } from './projectMetadata.ts';

export interface Pyproject {
  readonly toml: Table;
  readonly metadata: ProjectMetadata;
  /** `[build-system]`; null when the file has none (then setuptools is meant, PEP 517). */
  readonly build: { readonly backend: string; readonly requires: readonly string[] } | null;
}

/** Reads pyproject.toml: PEP 621, poetry, flit and pdm of before PEP 621, PEP 735 and tool groups. null when it is not TOML. */
export function readPyproject(text: string): Pyproject | null {
  let toml: Table;
  try {
    toml = parse(text);
  } catch {
    return null;
  }
  const tool = table(toml['tool']);
  const metadata = coreMetadata(toml, tool);
  return {
    toml,
    metadata: { ...metadata, groups: { ...metadata.groups, ...groupsOf(toml, tool) } },
    build: buildSystem(toml),
  };
}

function buildSystem(toml: Table): Pyproject['build'] {
  if (toml['build-system'] === undefined) return null;
  const system = table(toml['build-system']);
  return {
    backend: string(system['build-backend']) ?? 'setuptools.build_meta:__legacy__',
    requires: strings(system['requires']),
  };
}

function coreMetadata(toml: Table, tool: Table): ProjectMetadata {
  if (toml['project'] !== undefined) {
    const project = pep621(table(toml['project']));
    // Poetry 2 keeps groups in its own table beside [project].
    const poetry = tool['poetry'] === undefined ? NO_METADATA : poetryMetadata(table(tool['poetry']));
    const dependencies = project.dependencies ?? poetry.dependencies;
    return { ...project, dependencies, groups: poetry.groups };
  }
  if (tool['poetry'] !== undefined) return poetryMetadata(table(tool['poetry']));
  const flit = table(table(tool['flit'])['metadata']);
  if (Object.keys(flit).length > 0) return flitMetadata(flit);
  return NO_METADATA;
}

function pep621(project: Table): ProjectMetadata {
  const dynamic = new Set(strings(project['dynamic']));
  const extras = Object.entries(table(project['optional-dependencies'])).map(
    ([name, members]) => [normaliseName(name), strings(members)] as const,
  );
  return {
    name: string(project['name']),
    requiresPython: string(project['requires-python']),
    classifiers: pythonClassifiers(strings(project['classifiers'])),
    dependencies: dynamic.has('dependencies') ? null : strings(project['dependencies']),
    extras: dynamic.has('optional-dependencies') ? null : Object.fromEntries(extras),
    groups: {},
  };
}

function flitMetadata(flit: Table): ProjectMetadata {
  const extras = Object.entries(table(flit['requires-extra'])).map(
    ([name, members]) => [normaliseName(name), strings(members)] as const,
  );
  return {
    name: string(flit['dist-name']) ?? string(flit['module']),
    requiresPython: string(flit['requires-python']),
    classifiers: pythonClassifiers(strings(flit['classifiers'])),
    dependencies: strings(flit['requires']),
    extras: Object.fromEntries(extras),
    groups: {},
  };
}

/** PEP 735 groups with `include-group`, and those that pdm, uv and hatch keep in their own tables. */
function groupsOf(toml: Table, tool: Table): Record<string, readonly string[]> {
  const declared = table(toml['dependency-groups']);
  const byName = new Map(
    Object.entries(declared).map(([name, members]) => [normaliseName(name), list(members)]),
  );
  const expand = (name: string, seen: ReadonlySet<string>): readonly string[] => {
    if (seen.has(name)) return [];
    const inner = new Set([...seen, name]);
    return (byName.get(name) ?? []).flatMap((member) => {
      if (typeof member === 'string') return [member];
      const included = string(table(member)['include-group']);
      return included === null ? [] : expand(normaliseName(included), inner);
    });
  };
  const groups: Record<string, readonly string[]> = {};
  for (const name of byName.keys()) groups[name] = expand(name, new Set());
  for (const [name, members] of Object.entries(table(table(tool['pdm'])['dev-dependencies']))) {
    groups[normaliseName(name)] = strings(members);
  }
  const uvDev = strings(table(tool['uv'])['dev-dependencies']);
  if (uvDev.length > 0) groups['dev'] ??= uvDev;
  for (const [name, environment] of Object.entries(table(table(tool['hatch'])['envs']))) {
    const members = [
      ...strings(table(environment)['dependencies']),
      ...strings(table(environment)['extra-dependencies']),
    ];
    // Hatch's default environment is where `hatch run pytest` runs: it counts as a developers' group.
    if (members.length > 0) groups[name === 'default' ? 'dev' : normaliseName(name)] ??= members;
  }
  return groups;
}
