import { isPackageName, normaliseName } from '../domain/packageName.ts';
import { clean, valid } from '@renovatebot/pep440';
import { Parser } from 'htmlparser2';
import { z } from 'zod';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import { isFinalRelease } from '../domain/releases.ts';
import type { IsoTime } from '../domain/types.ts';
import { httpGet, networkFailure } from './http.ts';
import type { Fetch } from './http.ts';

/** The source distribution of one final, unyanked release. */
export interface IndexedSdist {
  /** Normalised by PEP 440. */
  readonly version: string;
  readonly filename: string;
  readonly url: string;
  readonly sha256: string | null;
  readonly bytes: number | null;
  readonly uploaded: IsoTime | null;
}

interface IndexFile {
  readonly filename: string;
  readonly url: string;
  readonly sha256: string | null;
  readonly bytes: number | null;
  readonly uploaded: string | null;
  readonly yanked: boolean;
}

const ACCEPT =
  'application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1';

export interface IndexRequest {
  readonly fetch: Fetch;
  /** Addresses of simple indexes, tried in order; the first that knows the project wins. */
  readonly indexUrls: readonly string[];
  readonly name: string;
  readonly signal: AbortSignal;
}

/**
 * Lists the sdists of a project: final releases, not yanked, one file per version (.tar.gz before .tar.bz2 before .zip).
 * Throws permanent NotFound when no index knows the project, BadAnswer (retried) when a page is not what the simple API
 * promises, and what `httpGet` throws.
 */
export async function listSdists(request: IndexRequest): Promise<readonly IndexedSdist[]> {
  const name = normaliseName(request.name);
  if (!isPackageName(name))
    throw permanentFailure(FAILURE_TYPES.badInput, `"${request.name.slice(0, 100)}" is not a package name.`);
  for (const index of request.indexUrls) {
    const url = `${index.replace(/\/+$/, '')}/${name}/`;
    const what = `the index page of ${name}`;
    const response = await httpGet({
      fetch: request.fetch,
      url,
      accept: ACCEPT,
      signal: request.signal,
      what,
    });
    if (response === null) continue;
    const text = await response.text().catch((error: unknown) => {
      throw networkFailure({ what, signal: request.signal }, error);
    });
    const base = withCredentialsOf(url, response.url === '' ? url : response.url);
    const files = (response.headers.get('content-type') ?? '').includes('json')
      ? parseJsonIndex(text, base, name)
      : parseHtmlIndex(text, base);
    return selectSdists(name, files);
  }
  throw permanentFailure(
    FAILURE_TYPES.notFound,
    `There is no package "${request.name}" on the configured index.`,
  );
}

/** Relative file links keep the credentials of the index; after a redirect to another host they are dropped. */
function withCredentialsOf(asked: string, answered: string): string {
  const from = new URL(asked);
  const to = new URL(answered);
  if (from.host !== to.host) return to.href;
  to.username = from.username;
  to.password = from.password;
  return to.href;
}

const JSON_INDEX = z.object({
  files: z.array(
    z.object({
      filename: z.string(),
      url: z.string(),
      hashes: z.record(z.string(), z.string()).optional(),
      size: z.number().int().nullish(),
      'upload-time': z.string().nullish(),
      yanked: z.union([z.boolean(), z.string()]).nullish(),
    }),
  ),
  'project-status': z.object({ status: z.string().optional() }).nullish(),
});

function parseJsonIndex(text: string, base: string, name: string): IndexFile[] {
  const parsed = JSON_INDEX.safeParse(jsonOrNull(text));
  if (!parsed.success)
    throw infraFailure(`The index answered something that is not a simple-API page for ${name}.`, {
      type: FAILURE_TYPES.badAnswer,
    });
  if (parsed.data['project-status']?.status === 'quarantined')
    throw permanentFailure(
      FAILURE_TYPES.notFound,
      `The package "${name}" is quarantined on the index: it offers no files.`,
    );
  return parsed.data.files.map((file) => ({
    filename: file.filename,
    url: new URL(file.url, base).href,
    sha256: file.hashes?.['sha256']?.toLowerCase() ?? null,
    bytes: file.size ?? null,
    uploaded: file['upload-time'] ?? null,
    yanked: file.yanked !== undefined && file.yanked !== null && file.yanked !== false,
  }));
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** PEP 503: one anchor per file; the hash is the URL's fragment; a `data-yanked` attribute marks yanked files. */
export function parseHtmlIndex(text: string, base: string): IndexFile[] {
  const files: IndexFile[] = [];
  let at = base;
  const parser = new Parser({
    onopentag(tag, attributes) {
      const href = attributes['href'];
      if (tag === 'base' && href !== undefined) at = new URL(href, base).href;
      if (tag !== 'a' || href === undefined || !URL.canParse(href, at)) return;
      const url = new URL(href, at);
      const fragment = new URLSearchParams(url.hash.slice(1));
      url.hash = '';
      files.push({
        filename: decodeURIComponent(url.pathname.split('/').at(-1) ?? ''),
        url: url.href,
        sha256: fragment.get('sha256')?.toLowerCase() ?? null,
        bytes: null,
        uploaded: null,
        yanked: attributes['data-yanked'] !== undefined,
      });
    },
  });
  parser.write(text);
  parser.end();
  return files;
}

const EXTENSIONS = ['.tar.gz', '.tgz', '.tar.bz2', '.zip'];

/** Version of an sdist's file name; null for wheels, other projects' files and unreadable versions. */
export function sdistVersion(name: string, filename: string): string | null {
  const extension = EXTENSIONS.find((candidate) => filename.endsWith(candidate));
  if (extension === undefined) return null;
  const stem = filename.slice(0, -extension.length);
  for (let dash = stem.indexOf('-'); dash >= 0; dash = stem.indexOf('-', dash + 1)) {
    const version = stem.slice(dash + 1);
    if (normaliseName(stem.slice(0, dash)) === name && valid(version) !== null) return clean(version);
  }
  return null;
}

function selectSdists(name: string, files: readonly IndexFile[]): readonly IndexedSdist[] {
  const rank = (filename: string): number =>
    EXTENSIONS.findIndex((extension) => filename.endsWith(extension));
  const best = new Map<string, IndexedSdist>();
  for (const file of files) {
    const version = file.yanked ? null : sdistVersion(name, file.filename);
    if (version === null || !isFinalRelease(version)) continue;
    const known = best.get(version);
    if (known && rank(known.filename) <= rank(file.filename)) continue;
    best.set(version, {
      version,
      filename: file.filename,
      url: file.url,
      sha256: file.sha256,
      bytes: file.bytes,
      uploaded:
        file.uploaded === null || Number.isNaN(Date.parse(file.uploaded))
          ? null
          : isoTime(Date.parse(file.uploaded)),
    });
  }
  return [...best.values()];
}

/** Epoch milliseconds as the project writes times: UTC, seconds precision. */
export const isoTime = (epochMs: number): IsoTime => `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
