import { parse as parseToml } from 'smol-toml';
import type { SourceMirror } from './mirror.ts';
import { spdxOf } from './metadata.ts';

const LICENSE_FILES = [
  'LICENSE',
  'LICENSE.txt',
  'LICENSE.md',
  'LICENSE.rst',
  'LICENCE',
  'LICENCE.txt',
  'COPYING',
  'COPYING.txt',
  'LICENSE.APACHE2',
  'license.txt',
];

/** SPDX id of a licence text with exactly one meaning; null when the text is not one of the common ones. */
export function licenseFromText(text: string): string | null {
  const words = text.replace(/\s+/g, ' ').toLowerCase();
  const found = [
    words.includes('permission is hereby granted, free of charge, to any person obtaining a copy')
      ? 'MIT'
      : null,
    /apache license,? version 2\.0/.test(words) ? 'Apache-2.0' : null,
    /mozilla public license,? (version|v\.) ?2\.0/.test(words) ? 'MPL-2.0' : null,
    words.includes('permission to use, copy, modify, and/or distribute this software for any purpose')
      ? 'ISC'
      : null,
    /redistributions? in binary form must reproduce/.test(words)
      ? /neither the names? of|may not be used to endorse|names of (its|the) contributors/.test(words)
        ? 'BSD-3-Clause'
        : 'BSD-2-Clause'
      : null,
  ].filter((id) => id !== null);
  return found.length === 1 ? (found[0] ?? null) : null;
}

/** Licence of a project's tree: what pyproject.toml declares, else what the licence file says; null if neither tells. */
export async function licenseOfTree(mirror: SourceMirror, commit: string): Promise<string | null> {
  const files = await mirror.readFiles(commit, ['pyproject.toml', ...LICENSE_FILES]);
  const declared = declaredLicense(files.get('pyproject.toml')?.toString('utf8') ?? '');
  if (declared !== null) return declared;
  for (const name of LICENSE_FILES) {
    const known = licenseFromText(files.get(name)?.toString('utf8') ?? '');
    if (known !== null) return known;
  }
  return null;
}

function declaredLicense(text: string): string | null {
  try {
    const project = (parseToml(text) as { project?: { license?: unknown } }).project;
    const value = project?.license;
    const words = typeof value === 'string' ? value : ((value as { text?: unknown } | undefined)?.text ?? '');
    return typeof words === 'string' && words !== '' && words.length < 100 ? (spdxOf(words) ?? words) : null;
  } catch {
    return null;
  }
}
