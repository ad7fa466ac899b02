/** Patches as text, written by hand: some of them are such as git would not write. Pure. */

const NO_LAST_LINE_END = '\\ No newline at end of file\n';

function block(sign: '+' | '-', text: string): string {
  if (text === '') return '';
  const whole = text.endsWith('\n');
  const lines = (whole ? text.slice(0, -1) : text).split('\n');
  return lines.map((line) => `${sign}${line}\n`).join('') + (whole ? '' : NO_LAST_LINE_END);
}

const count = (text: string): number => (text === '' ? 0 : text.replace(/\n$/, '').split('\n').length);

const range = (text: string): string => (text === '' ? '0,0' : `1,${count(text)}`);

const hunk = (before: string, after: string): string =>
  `@@ -${range(before)} +${range(after)} @@\n${block('-', before)}${block('+', after)}`;

/** A file with another content, as one hunk over all of it. */
export const changedFile = (path: string, before: string, after: string): string =>
  `diff --git a/${path} b/${path}\n--- a/${path}\n+++ b/${path}\n${hunk(before, after)}`;

/** A new file; `mode` 120000 makes a link to `content`, 160000 a submodule. */
export const newFile = (path: string, content: string, mode = '100644'): string =>
  `diff --git a/${path} b/${path}\nnew file mode ${mode}\n--- /dev/null\n+++ b/${path}\n${hunk('', content)}`;

export const deletedFile = (path: string, before: string): string =>
  `diff --git a/${path} b/${path}\ndeleted file mode 100644\n--- a/${path}\n+++ /dev/null\n${hunk(before, '')}`;

export const changedMode = (path: string, from: string, to: string): string =>
  `diff --git a/${path} b/${path}\nold mode ${from}\nnew mode ${to}\n`;

/** `newFile`, or a change where the base has the path. */
export const putFile = (path: string, before: string | undefined, after: string): string =>
  before === undefined ? newFile(path, after) : changedFile(path, before, after);
