/** Fields of a package's core metadata (PKG-INFO) that RepoForge reads. */
export interface PackageMetadata {
  /** SPDX expression where it can be told, else the first line of the licence text, else null. */
  readonly license: string | null;
  readonly summary: string | null;
  /** The long description, which often carries the changelog. */
  readonly description: string;
}

/** `License ::` classifiers and common spellings with exactly one SPDX meaning. */
const SPDX: Readonly<Record<string, string>> = {
  'mit license': 'MIT',
  mit: 'MIT',
  'the mit license': 'MIT',
  'expat license': 'MIT',
  'apache software license': 'Apache-2.0',
  'apache license 2.0': 'Apache-2.0',
  'apache license, version 2.0': 'Apache-2.0',
  'apache 2.0': 'Apache-2.0',
  'apache-2.0': 'Apache-2.0',
  'apache 2': 'Apache-2.0',
  'bsd-3-clause': 'BSD-3-Clause',
  'bsd 3-clause': 'BSD-3-Clause',
  'bsd-2-clause': 'BSD-2-Clause',
  'isc license (iscl)': 'ISC',
  isc: 'ISC',
  'mozilla public license 2.0 (mpl 2.0)': 'MPL-2.0',
  'mpl-2.0': 'MPL-2.0',
  'mpl 2.0': 'MPL-2.0',
  'python software foundation license': 'PSF-2.0',
  'psf-2.0': 'PSF-2.0',
  'the unlicense (unlicense)': 'Unlicense',
  'zero-clause bsd (0bsd)': '0BSD',
  'gnu general public license v2 (gplv2)': 'GPL-2.0-only',
  'gnu general public license v2 or later (gplv2+)': 'GPL-2.0-or-later',
  'gnu general public license v3 (gplv3)': 'GPL-3.0-only',
  'gnu general public license v3 or later (gplv3+)': 'GPL-3.0-or-later',
  'gnu lesser general public license v2 or later (lgplv2+)': 'LGPL-2.0-or-later',
  'gnu lesser general public license v3 (lgplv3)': 'LGPL-3.0-only',
  'gnu lesser general public license v3 or later (lgplv3+)': 'LGPL-3.0-or-later',
};

/** SPDX id of a licence's common name; null when the name has several meanings or none. */
export const spdxOf = (name: string): string | null => SPDX[name.trim().toLowerCase()] ?? null;

/** Reads PKG-INFO: RFC 822 headers with folded lines, then the description (also as a header in old versions). */
export function parseMetadata(text: string): PackageMetadata {
  const normal = text.replace(/\r\n/g, '\n');
  const blank = normal.search(/\n\n/);
  const head = blank < 0 ? normal : normal.slice(0, blank);
  const headers = new Map<string, string[]>();
  for (const line of head.replace(/\n[ \t]+/g, (fold) => `\v${fold.slice(1)}`).split('\n')) {
    const colon = line.indexOf(':');
    const key = line.slice(0, colon).toLowerCase();
    if (colon > 0) headers.set(key, [...(headers.get(key) ?? []), line.slice(colon + 1).trim()]);
  }
  const one = (key: string): string | null => {
    const value = headers.get(key)?.[0];
    return value === undefined || value === '' || value === 'UNKNOWN' ? null : value;
  };
  const body = blank < 0 ? '' : normal.slice(blank + 2);
  const folded = (one('description') ?? '').replaceAll(/\v( {8}|\t|[ \t]*\|)?/g, '\n');
  return {
    license: licenseOf(one('license-expression'), headers.get('classifier') ?? [], one('license')),
    summary: one('summary')?.replaceAll('\v', ' ') ?? null,
    description: body.trim() === '' ? folded : body,
  };
}

function licenseOf(
  expression: string | null,
  classifiers: readonly string[],
  text: string | null,
): string | null {
  if (expression !== null) return expression;
  const named = classifiers
    .filter((classifier) => classifier.startsWith('License ::'))
    .map((classifier) => classifier.split('::').at(-1)?.trim() ?? '');
  const known = [...new Set(named.flatMap((name) => SPDX[name.toLowerCase()] ?? []))];
  if (known.length === 1 && named.filter((name) => name !== 'OSI Approved').length === 1)
    return known[0] ?? null;
  const first = text?.split('\v')[0]?.trim() ?? '';
  const fromText = SPDX[first.toLowerCase()];
  if (fromText !== undefined) return fromText;
  if (first !== '') return first.slice(0, 200);
  return named.filter((name) => name !== 'OSI Approved').join('; ') || null;
}
