import { normaliseName } from '../../domain/packageName.ts';
import { pythonClassifiers, string, strings, table } from './projectMetadata.ts';
import type { ProjectMetadata, Table } from './projectMetadata.ts';

/** Poetry's `^1.2` and `~1.2` as PEP 440, e.g. `>=1.2,<2`. `*` is ''. */
export function poetrySpecifier(constraint: string): string {
  return constraint
    .split(',')
    .map((part) => onePart(part.trim()))
    .filter((part) => part !== '')
    .join(',');
}

function onePart(part: string): string {
  if (part === '' || part === '*') return '';
  if (part.includes('||') || part.includes(' '))
    return part.includes('||')
      ? ''
      : poetrySpecifier(part.replace(/\s+(?=[<>=!~^])/g, ',').replace(/\s+/g, ''));
  const caret = /^\^\s*v?([\d.]+\S*)$/.exec(part)?.[1];
  if (caret !== undefined) return `>=${caret},<${caretEnd(caret)}`;
  const tilde = /^~(?!=)\s*v?([\d.]+\S*)$/.exec(part)?.[1];
  if (tilde !== undefined) return `>=${tilde},<${tildeEnd(tilde)}`;
  return /^[\dv]/.test(part) ? `==${part.replace(/^v/, '')}` : part.replaceAll(' ', '');
}

const numbers = (version: string): readonly number[] =>
  (/^[\d.]+/.exec(version)?.[0] ?? '0')
    .split('.')
    .filter((part) => part !== '')
    .map(Number);

/** The first non-zero part rises: ^1.2.3 < 2, ^0.2.3 < 0.3, ^0.0.3 < 0.0.4. */
function caretEnd(version: string): string {
  const parts = numbers(version);
  const first = parts.findIndex((part) => part !== 0);
  const at = first === -1 ? parts.length - 1 : first;
  return [...parts.slice(0, at), (parts[at] ?? 0) + 1].join('.');
}

/** ~1.2.3 and ~1.2 < 1.3; ~1 < 2. */
function tildeEnd(version: string): string {
  const parts = numbers(version);
  const at = parts.length > 1 ? 1 : 0;
  return [...parts.slice(0, at), (parts[at] ?? 0) + 1].join('.');
}

interface PoetryRequirement {
  readonly line: string;
  readonly optional: boolean;
}

/** One entry of a poetry table as a PEP 508 line; null for paths, URLs and version control. */
function poetryRequirement(name: string, value: unknown): PoetryRequirement | null {
  if (typeof value === 'string') return { line: `${name}${poetrySpecifier(value)}`, optional: false };
  // A list holds variants per Python: the newest entry is what a current runtime takes.
  if (Array.isArray(value)) return poetryRequirement(name, value.at(-1));
  const entry = table(value);
  const version = string(entry['version']);
  if (version === null) return null;
  const extras = strings(entry['extras']);
  const python = string(entry['python']);
  const markers = [string(entry['markers']), python === null ? null : pythonMarker(python)].filter(
    (marker) => marker !== null && marker !== '',
  );
  const suffix = markers.length === 0 ? '' : ` ; ${markers.join(' and ')}`;
  return {
    line: `${name}${extras.length > 0 ? `[${extras.join(',')}]` : ''}${poetrySpecifier(version)}${suffix}`,
    optional: entry['optional'] === true,
  };
}

const pythonMarker = (constraint: string): string =>
  poetrySpecifier(constraint)
    .split(',')
    .map((part) => /^([<>=!~]+)(.+)$/.exec(part))
    .filter((match) => match !== null)
    .map((match) => `python_version ${match[1]} "${match[2]}"`)
    .join(' and ');

const lines = (entries: unknown): readonly string[] =>
  Object.entries(table(entries))
    .filter(([name]) => name !== 'python')
    .map(([name, value]) => poetryRequirement(name, value)?.line)
    .filter((line) => line !== undefined);

/** `[tool.poetry]` as metadata; groups include the older `dev-dependencies` as `dev`. */
export function poetryMetadata(poetry: Table): ProjectMetadata {
  const dependencies = table(poetry['dependencies']);
  const optional = new Map<string, string>();
  const required: string[] = [];
  for (const [name, value] of Object.entries(dependencies)) {
    if (name === 'python') continue;
    const requirement = poetryRequirement(name, value);
    if (requirement === null) continue;
    if (requirement.optional) optional.set(normaliseName(name), requirement.line);
    else required.push(requirement.line);
  }
  const python = string(dependencies['python']);
  const groups: Record<string, readonly string[]> = {};
  const dev = lines(poetry['dev-dependencies']);
  if (dev.length > 0) groups['dev'] = dev;
  for (const [name, group] of Object.entries(table(poetry['group']))) {
    groups[normaliseName(name)] = lines(table(group)['dependencies']);
  }
  const extras = Object.entries(table(poetry['extras'])).map(
    ([name, members]) =>
      [
        normaliseName(name),
        strings(members).map((member) => optional.get(normaliseName(member)) ?? member),
      ] as const,
  );
  return {
    name: string(poetry['name']),
    requiresPython: python === null ? null : poetrySpecifier(python) || null,
    classifiers: pythonClassifiers(strings(poetry['classifiers'])),
    dependencies: required,
    extras: Object.fromEntries(extras),
    groups,
  };
}
