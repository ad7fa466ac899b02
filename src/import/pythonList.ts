/**
 * Reads the text of a Python list of strings, as `str(list)` writes it: SWE-bench Pro ships its test lists so, and its own
 * tools evaluate them. Here it is data: anything but string literals in brackets is refused.
 */
export function parsePythonStringList(text: string): readonly string[] | null {
  const list = /^\s*\[([\s\S]*)\]\s*$/.exec(text)?.[1];
  if (list === undefined) return null;
  const items: string[] = [];
  const literal = /\s*(?:'((?:[^'\\]|\\[\s\S])*)'|"((?:[^"\\]|\\[\s\S])*)")\s*(,|$)/y;
  while (literal.lastIndex < list.length && list.slice(literal.lastIndex).trim() !== '') {
    const match = literal.exec(list);
    if (match === null) return null;
    const item = unescape(match[1] ?? match[2] ?? '');
    if (item === null) return null;
    items.push(item);
    if (match[3] === '') break;
  }
  return items;
}

const SIMPLE: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  n: '\n',
  r: '\r',
  t: '\t',
  b: '\b',
  f: '\f',
  v: '\v',
  a: '\u0007',
};

function unescape(body: string): string | null {
  let broken = false;
  const text = body.replace(
    /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|([\s\S]))/g,
    (whole, x?: string, u?: string, U?: string, octal?: string, other?: string) => {
      const hex = x ?? u ?? U;
      const code = hex === undefined ? Number.parseInt(octal ?? '', 8) : Number.parseInt(hex, 16);
      if (other === undefined) {
        if (code > 0x10ffff) broken = true;
        return code > 0x10ffff ? '' : String.fromCodePoint(code);
      }
      return SIMPLE[other] ?? whole; // Python keeps the backslash of an escape that it does not know
    },
  );
  return broken ? null : text;
}
