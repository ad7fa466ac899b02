import type { Logger } from 'pino';
import { z } from 'zod';
import { FAILURE_TYPES, cutText, permanentFailure } from '../domain/failures.ts';
import { instanceIds } from '../domain/ids.ts';
import { MUTATION_KINDS, bugId, bugOrder, createReach, isOwnCode } from '../domain/mutation.ts';
import type { KnownFunction, Mutation, MutationKind } from '../domain/mutation.ts';
import { testModules } from '../domain/split.ts';
import type { ArtefactRef, RejectionReason } from '../domain/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import { makeCandidate } from './candidate.ts';
import type { SourceMirror, SourceMirrorStore } from './mirror.ts';
import { openSubject } from './mutateSubject.ts';
import type { Subject, SubjectOptions } from './mutateSubject.ts';
import { readPythonFiles } from './pythonFiles.ts';
import { BadArchiveError } from './sdistArchive.ts';
import type { CandidateSource, MineContext, MinedCandidate } from './types.ts';

/** Makes every bug of some files (text by path), and lists their functions; the same files give the same answer. */
export type Mutator = (
  files: ReadonlyMap<string, string>,
  kinds: readonly MutationKind[],
  context: MineContext,
) => Promise<{ readonly mutations: readonly Mutation[]; readonly functions: readonly KnownFunction[] }>;

export interface MutateSourceOptions extends SubjectOptions {
  readonly seed: number;
  readonly kinds: readonly MutationKind[];
  readonly store: ArtefactStore;
  readonly mirrors: SourceMirrorStore;
  readonly log: Logger;
  readonly mutate: Mutator;
}

/** What one look at a package found, kept as an artefact, so that every page of a source reads the same list. */
interface Survey {
  readonly subject: Subject;
  readonly bugs: readonly { readonly bug: Mutation; readonly testFiles: readonly string[] }[];
}

const CURSOR = z.object({ survey: z.string(), at: z.int().nonnegative(), found: z.int().nonnegative() });
type Cursor = z.infer<typeof CURSOR>;

const MAX_FILE_BYTES = 512 * 1024; // larger modules are data
const MAX_SOURCE_BYTES = 8 * 1024 ** 2;
const MAX_BUGS = 2_000; // kept of one package: more than any campaign tries

/**
 * Bugs made by rule in one package's own code as a source of candidates, in the order of `bugOrder`. The base is the package with one bug and
 * without the test modules that may notice it; gold takes the bug out, the test patch brings the modules back. Validation
 * decides whether the bug breaks something. The package is a release's sdist, or the head of a clone.
 */
export function createMutateSource(options: MutateSourceOptions): CandidateSource {
  return {
    async minePage(cursorText, pageSize, context) {
      const known = cursorText === null ? null : await readSurvey(options, cursorText);
      try {
        const { survey, ref, cursor } = known ?? (await makeSurvey(options, context));
        return await pageOf(options, { survey, ref, cursor, pageSize, context });
      } catch (error) {
        if (error instanceof Unusable) return { entries: [error.entry], nextCursor: null };
        throw error;
      }
    },
  };
}

/** The whole package gives no candidate; says why. */
class Unusable extends Error {
  readonly entry: MinedCandidate;
  constructor(name: string, version: string, reason: RejectionReason, detail: string) {
    super(detail);
    const instanceId = instanceIds.mutated(name, version);
    this.entry = { ok: false, instanceId, rejection: { reason, detail: cutText(detail) } };
  }
}

interface Found {
  readonly survey: Survey;
  readonly ref: ArtefactRef;
  readonly cursor: Pick<Cursor, 'at' | 'found'>;
}

/** null when what the cursor names is not here any more: everything is made again, alike. */
async function readSurvey(options: MutateSourceOptions, text: string): Promise<Found | null> {
  const cursor = parseCursor(text);
  const ref = cursor.survey as ArtefactRef;
  const survey = await options.store.getJson<Survey>(ref);
  const mirror = await options.mirrors.create(survey.subject.mirror);
  return (await mirror.resolve(survey.subject.commit)) === null ? null : { survey, ref, cursor };
}

function parseCursor(text: string): Cursor {
  try {
    return CURSOR.parse(JSON.parse(text));
  } catch (error) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `"${text.slice(0, 100)}" is not a cursor of a package's bugs.`,
      error,
    );
  }
}

async function makeSurvey(options: MutateSourceOptions, context: MineContext): Promise<Found> {
  const subject = await openSubject(options, context).catch((error: unknown) => {
    if (!(error instanceof BadArchiveError)) throw error;
    throw new Unusable(options.target.name, options.target.version ?? '', 'bad_archive', error.message);
  });
  const mirror = await options.mirrors.open(subject.mirror);
  const no = (reason: RejectionReason, detail: string): Unusable =>
    new Unusable(subject.name, subject.version, reason, detail);
  const pythonFiles = await readPythonFiles(mirror, subject.commit);
  const tree = (await mirror.listTree(subject.commit)).filter((entry) => entry.mode.startsWith('100'));
  const tests = testModules(
    tree.map(({ path }) => path),
    { pythonFiles },
  );
  if (tests.length === 0) throw no('no_test_change', `${subject.title} ships no test modules.`);
  const own = tree.filter(({ path, bytes }) => isOwnCode(path, { pythonFiles }) && bytes <= MAX_FILE_BYTES);
  const sources = await textsOf(
    mirror,
    subject.commit,
    own.map(({ path }) => path),
    MAX_SOURCE_BYTES,
  );
  const { mutations, functions } = await options.mutate(sources, options.kinds, context);
  const reach = createReach(
    functions,
    await textsOf(mirror, subject.commit, tests, Number.POSITIVE_INFINITY),
  );
  const bugs = bugOrder(mutations, options.seed)
    .map((bug) => ({ bug, testFiles: reach(bug) }))
    .filter(({ testFiles }) => testFiles.length > 0)
    .slice(0, MAX_BUGS);
  options.log.info({ subject: subject.title, made: mutations.length, kept: bugs.length }, 'bugs made');
  if (bugs.length === 0)
    throw no('no_source_change', `No bug could be made in ${subject.title} that its tests might notice.`);
  const survey: Survey = { subject, bugs };
  return { survey, ref: await options.store.putJson(survey), cursor: { at: 0, found: 0 } };
}

/** UTF-8 texts by path, in order, up to a sum of bytes; files in another encoding are left out. */
async function textsOf(
  mirror: SourceMirror,
  commit: string,
  paths: readonly string[],
  maxBytes: number,
): Promise<ReadonlyMap<string, string>> {
  const contents = await mirror.readFiles(commit, paths);
  const texts = new Map<string, string>();
  let bytes = 0;
  for (const [path, content] of contents) {
    const text = content.toString('utf8');
    bytes += content.length;
    if (bytes > maxBytes) break;
    if (Buffer.from(text, 'utf8').equals(content)) texts.set(path, text);
  }
  return texts;
}

async function pageOf(
  options: MutateSourceOptions,
  page: Found & { readonly pageSize: number; readonly context: MineContext },
): Promise<{ readonly entries: readonly MinedCandidate[]; readonly nextCursor: string | null }> {
  const { survey, ref, pageSize, context } = page;
  const { maxCandidates } = options.limits;
  const mirror = await options.mirrors.open(survey.subject.mirror);
  const entries: MinedCandidate[] = [];
  let { at, found } = page.cursor;
  for (; at < survey.bugs.length; at += 1) {
    const one = survey.bugs[at];
    if (one === undefined || (maxCandidates !== null && found >= maxCandidates)) break;
    if (entries.length >= pageSize)
      return { entries, nextCursor: JSON.stringify({ survey: ref, at, found } satisfies Cursor) };
    context.signal.throwIfAborted();
    const mined = await candidateOf(options, mirror, survey.subject, one);
    context.heartbeat({ mined: mined.instanceId });
    entries.push(mined);
    if (mined.ok) found += 1;
  }
  return { entries, nextCursor: null };
}

async function candidateOf(
  options: MutateSourceOptions,
  mirror: SourceMirror,
  subject: Subject,
  { bug, testFiles }: Survey['bugs'][number],
): Promise<MinedCandidate> {
  const instanceId = instanceIds.mutated(subject.name, subject.version, bugId(bug));
  const original = await mirror.readFile(subject.commit, bug.path);
  if (original === null)
    throw permanentFailure(FAILURE_TYPES.badAnswer, `${bug.path} is not in the tree that it was read from.`);
  const broken = Buffer.concat([
    original.subarray(0, bug.start),
    Buffer.from(bug.text, 'utf8'),
    original.subarray(bug.end),
  ]);
  const base = await mirror.commitWithFiles(
    subject.commit,
    { message: 'A bug', write: new Map([[bug.path, broken]]), remove: testFiles },
    `bugs/${instanceId}`,
  );
  const { commit, published, title, ...facts } = subject;
  return makeCandidate({
    mirror,
    store: options.store,
    limits: options.limits,
    instanceId,
    source: 'mutate',
    repo: facts.repo,
    base,
    head: commit,
    version: facts.tag,
    baseVersion: facts.baseVersion,
    createdAt: published,
    baseCreatedAt: published,
    problemStatement: `Something in the code of ${title} is wrong since the last change.\n`, // until validation knows more
    hintsText: null,
    license: facts.license,
    provenance: {
      ...facts.provenance,
      subject: title,
      bug_kind: bug.kind,
      bug_file: bug.path,
      bug_line: bug.line,
      bug_function: bug.function,
      seed: options.seed,
      ...(options.kinds.length === MUTATION_KINDS.length ? {} : { kinds: options.kinds }),
      problem_statement_from: 'failing tests',
    },
  });
}
