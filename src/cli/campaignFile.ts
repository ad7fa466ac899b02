import leven from 'leven';
import { LineCounter, isMap, isNode, isPair, isScalar, parseDocument, type Document } from 'yaml';
import { z } from 'zod';
import { nameProblem } from '../domain/ids.ts';

/** A mistake in a campaign file: one sentence, with `file:line:column` of what to mend. */
export class CampaignFileError extends Error {
  override readonly name = 'CampaignFileError';
}

const day = z
  .union([z.iso.date(), z.iso.datetime({ offset: true })])
  .transform((text) => new Date(text).toISOString().replace(/\.\d{3}Z$/, 'Z'));
const runtime = z
  .string({ error: 'quote runtime versions: YAML reads 3.10 as the number 3.1' })
  .regex(/^3\.\d+$/, 'expected a version such as "3.11"');
const count = z.int().positive();
const packageName = z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/, 'expected a package name');

const sourceLimits = {
  /** Candidates taken from this source, newest first. */
  max_candidates: count.optional(),
  /** Published instances taken from this source, newest first. */
  max_instances: count.optional(),
};

const source = z.union([
  z.strictObject({ pypi: packageName, ...sourceLimits }),
  z.strictObject({
    git: z.string().min(1),
    name: z
      .string()
      .regex(/^[^/\s]+\/[^/\s]+$/, 'expected owner/name')
      .optional(),
    ...sourceLimits,
  }),
  z.strictObject({ github: z.string().regex(/^[^/\s]+\/[^/\s]+$/, 'expected owner/name'), ...sourceLimits }),
]);

const campaign = z.strictObject({
  name: z.string().superRefine((name, context) => {
    const problem = nameProblem(name);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
  }),
  sources: z.array(source).min(1),
  /** Published instances in all, in source order. */
  max_instances: count.optional(),
  /** Candidates in flight at once. */
  window: count.max(500).optional(),
  runtimes: z.array(runtime).min(1).optional(),
  /** Only changes published in [since, until). */
  since: day.optional(),
  until: day.optional(),
  max_source_files: count.optional(),
  max_patch_kilobytes: count.optional(),
  /** Time that tests of the base suite (PASS_TO_PASS beyond the test patch's files) may take per run. */
  pass_to_pass_budget_seconds: z.number().nonnegative().optional(),
  max_forgery_odds: z.number().min(0).max(1).optional(),
  /** Only these licences (SPDX expressions or parts of the metadata's text). */
  licenses: z.array(z.string().min(1)).min(1).optional(),
  limits: z
    .strictObject({
      timeout_seconds: z.number().positive().optional(),
      memory_megabytes: count.optional(),
      cpus: z.number().positive().optional(),
      pids: count.optional(),
    })
    .optional(),
});

/** A campaign as its YAML file says it (snake_case, units in the names). */
export type CampaignFile = z.output<typeof campaign>;

/**
 * Parses and checks a campaign file.
 * @throws CampaignFileError naming the file, line and column of the first mistake.
 */
export function parseCampaignFile(text: string, file: string): CampaignFile {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter });
  const at = (offset: number | undefined): string => {
    const position = lineCounter.linePos(offset ?? 0);
    return `${file}:${position.line}:${position.col}`;
  };
  const broken = document.errors[0];
  if (broken !== undefined)
    throw new CampaignFileError(`${at(broken.pos[0])}: not valid YAML: ${broken.message.split('\n')[0]}`);
  const parsed = campaign.safeParse(document.toJS());
  if (parsed.success) return parsed.data;
  const issue = mostTelling(parsed.error.issues);
  throw new CampaignFileError(`${at(offsetOf(document, issue))}: ${explain(issue)}`);
}

type Issue = z.core.$ZodIssue;

const SOURCE_KINDS = ['pypi', 'git', 'github'];
const ONE_KIND = 'a source needs exactly one of the keys pypi, git or github';

/** Inside a union, the branch whose distinguishing key is present says what is wrong. */
function mostTelling(issues: readonly Issue[]): Issue {
  // a misspelt key is also a missing one: the first says more
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue === undefined) throw new Error('zod reported no issue');
  if (issue.code !== 'invalid_union') return issue;
  const branches = issue.errors.filter((branch) => branch.length > 0);
  const missesItsKey = (branch: readonly Issue[]): boolean =>
    branch.some(
      (inner) =>
        inner.code === 'invalid_type' &&
        inner.path.length === 1 &&
        inner.input === undefined &&
        SOURCE_KINDS.includes(String(inner.path[0])),
    );
  const chosen = branches.find((branch) => !missesItsKey(branch));
  const inner = chosen === undefined ? misspeltKind(branches) : mostTelling(chosen);
  return inner === undefined
    ? { ...issue, message: ONE_KIND }
    : { ...inner, path: [...issue.path, ...inner.path] };
}

/** A source of no kind: a key that is close to one of the kinds was meant to be it. */
function misspeltKind(branches: readonly (readonly Issue[])[]): Issue | undefined {
  const unknown = branches.flat().find(({ code }) => code === 'unrecognized_keys');
  if (unknown?.code !== 'unrecognized_keys') return undefined;
  const keys = unknown.keys.filter((key) => SOURCE_KINDS.some((kind) => leven(key, kind) <= 2));
  return keys.length === 0 ? undefined : { ...unknown, keys };
}

function explain(issue: Issue): string {
  const where = issue.path.length === 0 ? 'the file' : `"${issue.path.join('.')}"`;
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    const known = knownKeys(issue.path);
    if (known.includes(key)) return `${where}: ${ONE_KIND}`;
    const nearest = known.toSorted((a, b) => leven(key, a) - leven(key, b))[0];
    const hint =
      nearest !== undefined && leven(key, nearest) <= 3
        ? `did you mean "${nearest}"?`
        : `known keys: ${known.join(', ')}.`;
    return `unknown key "${key}"; ${hint}`;
  }
  if (issue.code === 'invalid_type' && issue.message.includes('undefined')) return `${where} is missing`;
  return `${where}: ${issue.message}`;
}

function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  if (path.length === 0) return Object.keys(campaign.shape);
  if (path[0] === 'limits') return ['timeout_seconds', 'memory_megabytes', 'cpus', 'pids'];
  return [...SOURCE_KINDS, 'name', ...Object.keys(sourceLimits)];
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
