import leven from 'leven';
import { z } from 'zod';
import { nameProblem } from '../domain/ids.ts';
import { MUTATION_KINDS } from '../domain/mutation.ts';
import { mutationTarget } from '../domain/sourceSpec.ts';
import { parseYamlFile, unknownKey, whereOf } from './yamlFile.ts';
import type { Issue } from './yamlFile.ts';

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

const repository = z.string().regex(/^[^/\s]+\/[^/\s]+$/, 'expected owner/name');
const mutated = z
  .string()
  .refine(
    (text) => mutationTarget(text) !== null,
    'expected a package, package==version, or a clone with a / in it',
  );

const source = z.union([
  z.strictObject({ pypi: packageName, ...sourceLimits }),
  z.strictObject({
    git: z.string().min(1),
    name: repository.optional(),
    ...sourceLimits,
  }),
  z.strictObject({ github: repository, ...sourceLimits }),
  z.strictObject({
    /** One package or clone, or several, each with these limits. */
    mutate: z.preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(mutated).min(1)),
    name: repository.optional(),
    seed: z.int().nonnegative().optional(),
    kinds: z.array(z.enum(MUTATION_KINDS)).min(1).optional(),
    ...sourceLimits,
  }),
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
 * @throws YamlFileError naming the file, line and column of the first mistake.
 */
export const parseCampaignFile = (text: string, file: string): CampaignFile =>
  parseYamlFile(text, file, { schema: campaign, mostTelling, explainKey });

const SOURCE_KINDS = ['pypi', 'git', 'github', 'mutate'];
const ONE_KIND = 'a source needs exactly one of the keys pypi, git, github or mutate';

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

function explainKey(key: string, path: readonly PropertyKey[]): string {
  const known = knownKeys(path);
  return known.includes(key) ? `${whereOf(path)}: ${ONE_KIND}` : unknownKey(key, known);
}

function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  if (path.length === 0) return Object.keys(campaign.shape);
  if (path[0] === 'limits') return ['timeout_seconds', 'memory_megabytes', 'cpus', 'pids'];
  return [...SOURCE_KINDS, 'name', 'seed', 'kinds', ...Object.keys(sourceLimits)];
}
