import { execa } from 'execa';

const PERSON = {
  GIT_AUTHOR_NAME: 'Test',
  GIT_AUTHOR_EMAIL: 'test@localhost',
  GIT_COMMITTER_NAME: 'Test',
  GIT_COMMITTER_EMAIL: 'test@localhost',
  GIT_AUTHOR_DATE: '1700000000 +0000',
  GIT_COMMITTER_DATE: '1700000000 +0000',
};

/** Content of a fixture's file; a link is `{ link: target }`. */
export type FixtureFile = string | Buffer | { readonly link: string };

/** Writes a commit of exactly these files into a bare repository, by fast-import: no checkout. Returns its id. */
export async function writeTree(
  gitDir: string,
  files: Readonly<Record<string, FixtureFile>>,
  ref = 'refs/heads/fixture',
): Promise<string> {
  const chunks: Buffer[] = [
    Buffer.from(`commit ${ref}\ncommitter Test <test@localhost> 1700000000 +0000\ndata 4\nbase\ndeleteall\n`),
  ];
  for (const [path, content] of Object.entries(files)) {
    const isLink = typeof content === 'object' && 'link' in content;
    const bytes = Buffer.from(isLink ? content.link : content);
    chunks.push(
      Buffer.from(`M ${isLink ? '120000' : '100644'} inline ${path}\ndata ${bytes.length}\n`),
      bytes,
      Buffer.from('\n'),
    );
  }
  await execa('git', ['--git-dir', gitDir, 'fast-import', '--quiet', '--force'], {
    input: Buffer.concat(chunks),
    env: PERSON,
  });
  const { stdout } = await execa('git', ['--git-dir', gitDir, 'rev-parse', ref]);
  return stdout.trim();
}
