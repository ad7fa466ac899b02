/** Positions inside JSON text, which JSON.parse does not give: needed to name a line and to see duplicate keys. */

/** 1-based line of a character offset. */
export function lineOfOffset(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1)) line += 1;
  return line;
}

/** One member of a JSON list or dict: its key (null in a list) and where its value lies. */
export interface JsonMember {
  readonly key: string | null;
  readonly offset: number;
  readonly end: number;
}

/** Members of the outermost list or dict of a **valid** JSON text, duplicates of a key included, in order. */
export function topLevelMembers(text: string): readonly JsonMember[] {
  const members: JsonMember[] = [];
  const open = text.search(/[[{]/);
  const isDict = text[open] === '{';
  let at = skipSpace(text, open + 1);
  while (at < text.length && text[at] !== ']' && text[at] !== '}') {
    let key: string | null = null;
    if (isDict) {
      const keyEnd = endOfValue(text, at);
      key = JSON.parse(text.slice(at, keyEnd)) as string;
      at = skipSpace(text, skipSpace(text, keyEnd) + 1); // over the colon
    }
    const end = endOfValue(text, at);
    members.push({ key, offset: at, end });
    at = skipSpace(text, end);
    if (text[at] === ',') at = skipSpace(text, at + 1);
  }
  return members;
}

const skipSpace = (text: string, from: number): number => {
  let at = from;
  while (at < text.length && /\s/.test(text[at] ?? '')) at += 1;
  return at;
};

/** End (exclusive) of the JSON value that starts at `from`. */
function endOfValue(text: string, from: number): number {
  if (text[from] === '"') return endOfString(text, from);
  if (text[from] !== '{' && text[from] !== '[')
    return from + (/^[^\s,\]}]+/.exec(text.slice(from, from + 64))?.[0].length ?? 0);
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at) - 1;
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  return text.length;
}

function endOfString(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '"') return at + 1;
  }
  return text.length;
}

/** One sentence on a JSON.parse error with file, line and column; `lineIndex` when `text` is one line of a file. */
export function jsonProblem(path: string, text: string, error: unknown, lineIndex = 0): string {
  const message = messageOf(error);
  const offset = positionIn(message) ?? firstBadCharacter(text);
  const line = lineOfOffset(text, offset);
  const column = offset - (text.lastIndexOf('\n', offset - 1) + 1) + 1;
  const reason = message.replace(/ (in JSON )?at position.*$/s, '').replace(/, (\.\.\.)?".*$/s, '');
  return `${path}:${lineIndex + line}:${column}: not valid JSON (${reason}).`;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function positionIn(message: string): number | undefined {
  const position = /position (\d+)/.exec(message)?.[1];
  return position === undefined ? undefined : Number(position);
}

/**
 * Offset of the first character that no valid JSON text could have there. V8 names none for an unexpected token, but a
 * beginning of valid JSON fails only at its end: search for the longest such beginning.
 */
function firstBadCharacter(text: string): number {
  let good = 0;
  let bad = text.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (failsOnlyAtItsEnd(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return good === text.length ? text.trimEnd().length : good;
}

function failsOnlyAtItsEnd(beginning: string): boolean {
  try {
    JSON.parse(beginning);
    return true;
  } catch (error) {
    const message = messageOf(error);
    return /^Unexpected end|^Unterminated/.test(message) || (positionIn(message) ?? -1) >= beginning.length;
  }
}
