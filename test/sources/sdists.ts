import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import type { Header } from 'tar-stream';

export type Member = Partial<Omit<Header, 'name'>> & { readonly name: string; readonly content?: string | Buffer };

/** A .tar.gz built member by member, as hostile as the test wants. */
export async function tarGz(members: readonly Member[]): Promise<Buffer> {
  const archive = pack();
  for (const { content, ...header } of members)
    archive.entry({ mode: 0o644, mtime: new Date('2024-01-01T00:00:00Z'), ...header }, content ?? '');
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk);
  return gzipSync(Buffer.concat(chunks));
}

/** An ordinary sdist of a tiny package with tests and a changelog. */
export async function sdist(
  name: string,
  version: string,
  files: Readonly<Record<string, string>>,
): Promise<Buffer> {
  const top = `${name}-${version}`;
  const all = {
    'PKG-INFO': `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\nLicense-Expression: MIT\n`,
    ...files,
  };
  return tarGz(Object.entries(all).map(([path, content]) => ({ name: `${top}/${path}`, content })));
}

export const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
