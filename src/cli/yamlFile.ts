import leven from 'leven';
import { LineCounter, isMap, isNode, isPair, isScalar, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';

/** A mistake in a file of ours: one sentence, with `file:line:column` of what to mend. */
export class YamlFileError extends Error {
  override readonly name = 'YamlFileError';
}

export type Issue = z.core.$ZodIssue;

export interface YamlFileRules<T> {
  readonly schema: z.ZodType<T>;
  /** Which of the issues says most; the first by default. */
  readonly mostTelling?: (issues: readonly Issue[]) => Issue;
  /** What is said of a key that the schema does not know at a path. */
  readonly explainKey: (key: string, path: readonly PropertyKey[]) => string;
}

/**
 * Parses a YAML file and checks it.
 * @throws YamlFileError naming the file, line and column of the first mistake.
 */
export function parseYamlFile<T>(text: string, file: string, rules: YamlFileRules<T>): T {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter });
  const at = (offset: number | undefined): string => {
    const position = lineCounter.linePos(offset ?? 0);
    return `${file}:${position.line}:${position.col}`;
  };
  const broken = document.errors[0];
  if (broken !== undefined)
    throw new YamlFileError(`${at(broken.pos[0])}: not valid YAML: ${broken.message.split('\n')[0]}`);
  const parsed = rules.schema.safeParse(document.toJS());
  if (parsed.success) return parsed.data;
  const issue = (rules.mostTelling ?? firstOf)(parsed.error.issues);
  throw new YamlFileError(`${at(offsetOf(document, issue))}: ${explain(issue, rules)}`);
}

/** A misspelt key is also a missing one: the first says more. */
function firstOf(issues: readonly Issue[]): Issue {
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue === undefined) throw new Error('zod reported no issue');
  return issue;
}

export const whereOf = (path: readonly PropertyKey[]): string =>
  path.length === 0 ? 'the file' : `"${path.join('.')}"`;

/** `unknown key "x"`, with the one that was meant or all that there are. */
export function unknownKey(key: string, known: readonly string[]): string {
  const nearest = known.toSorted((a, b) => leven(key, a) - leven(key, b))[0];
  const hint =
    nearest !== undefined && leven(key, nearest) <= 3
      ? `did you mean "${nearest}"?`
      : `known keys: ${known.join(', ')}.`;
  return `unknown key "${key}"; ${hint}`;
}

function explain<T>(issue: Issue, { explainKey }: YamlFileRules<T>): string {
  if (issue.code === 'unrecognized_keys') return explainKey(issue.keys[0] ?? '', issue.path);
  const where = whereOf(issue.path);
  if (issue.code === 'invalid_type' && issue.message.includes('undefined')) return `${where} is missing`;
  return `${where}: ${issue.message}`;
}

/** Offset of the key an issue is about; of the deepest node on its path otherwise. */
function offsetOf(document: Document, issue: Issue): number | undefined {
  const parent = document.getIn(issue.path, true);
  if (issue.code === 'unrecognized_keys' && isMap(parent))
    for (const pair of parent.items)
      if (isPair(pair) && isScalar(pair.key) && issue.keys.includes(String(pair.key.value)))
        return pair.key.range?.[0];
  for (let length = issue.path.length; length >= 0; length -= 1) {
    const node = length === 0 ? document.contents : document.getIn(issue.path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return undefined;
}
