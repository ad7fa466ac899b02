import { FAILURE_TYPES, cutText, permanentFailure } from '../domain/failures.ts';
import { isGeneratedText, isVersionOnlyDiff } from '../domain/staticChange.ts';
import { classifyPath, splitChange, testModules } from '../domain/split.ts';
import type { SplitOptions } from '../domain/split.ts';
import type { Candidate, IsoTime, Rejection, RejectionReason, SourceKind } from '../domain/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { RawChange } from './gitParse.ts';
import type { SourceMirror } from './mirror.ts';
import { readPythonFiles } from './pythonFiles.ts';
import type { MineLimits, MinedCandidate } from './types.ts';

/** Everything a source knows about one change; git tells the rest. */
export interface ChangeFacts {
  readonly mirror: SourceMirror;
  readonly store: ArtefactStore;
  readonly limits: Pick<MineLimits, 'maxSourceFiles' | 'maxPatchBytes'>;
  readonly instanceId: string;
  readonly source: SourceKind;
  readonly repo: string;
  /** Commit ids; the change is `base`..`head`. */
  readonly base: string;
  readonly head: string;
  readonly version: string;
  readonly baseVersion: string | null;
  readonly createdAt: IsoTime;
  readonly baseCreatedAt: IsoTime;
  readonly problemStatement: string;
  readonly hintsText: string | null;
  readonly license: string | null;
  readonly provenance: Candidate['provenance'];
  /** Better words that cost requests: asked for only when the change is usable. */
  readonly findWords?: () => Promise<Pick<ChangeFacts, 'problemStatement' | 'hintsText' | 'provenance'>>;
}

const MAX_TEXT_CHARACTERS = 64 * 1024;
const MAX_TEST_BYTES = 32 * 1024 ** 2; // fixtures may be large, but every sandbox of the row carries them
const LFS_POINTER = 'version https://git-lfs';
const LFS_POINTER_MAX_BYTES = 1_024;

/**
 * Makes a candidate of a change, or a typed rejection. Stores patches, texts and the candidate itself as artefacts and
 * commits base + test patch under `refs/repoforge/tests/<instance id>`. Safe to repeat: equal input gives equal refs.
 */
export async function makeCandidate(facts: ChangeFacts): Promise<MinedCandidate> {
  const { mirror, base, head, instanceId } = facts;
  const reject = (reason: RejectionReason, detail: string): MinedCandidate => ({
    ok: false,
    instanceId,
    rejection: { reason, detail: cutText(detail) },
  });
  const changes = await mirror.changes(base, head);
  const options: SplitOptions = { pythonFiles: await readPythonFiles(mirror, head) };
  const generated = await findGenerated(mirror, changes);
  const usable = changes.filter((change) => !change.undecodable && !generated.has(change.path));
  const split = splitChange(
    usable.map((change) => change.path),
    options,
  );
  if (split.properSource.length === 0)
    return reject('no_source_change', `The change touches no source file (${describeChange(changes)}).`);
  const present = new Set(usable.filter((change) => change.status !== 'D').map((change) => change.path));
  const testFiles = testModules(
    split.test.filter((path) => present.has(path)),
    options,
  );
  if (testFiles.length === 0)
    return reject(
      'no_test_change',
      `The change adds or changes no test module (${describeChange(changes)}).`,
    );
  const sizes = await sizesOf(mirror, changes);
  const unfillable = await findUnfillable(mirror, base, changes, sizes);
  if (unfillable) return reject(unfillable.reason, unfillable.detail);
  const oversize = findOversize(facts, usable, split, sizes);
  if (oversize !== null) return reject('too_large', oversize);

  const patch = await mirror.diff(base, head, split.source);
  if (patch.length > facts.limits.maxPatchBytes)
    return reject(
      'too_large',
      `The source patch has ${patch.length} bytes; the limit is ${facts.limits.maxPatchBytes}.`,
    );
  if (isVersionOnlyDiff(patch.toString('utf8'), (path) => classifyPath(path, options) === 'source'))
    return reject('no_source_change', 'The source files differ only in version strings, dates or years.');
  const testPatch = await mirror.diff(base, head, split.test);
  const testCommit = await mirror.commitWithPatch(base, testPatch, `tests/${instanceId}`);
  if (testCommit === null)
    throw permanentFailure(
      FAILURE_TYPES.badAnswer,
      `The test patch of ${instanceId} does not apply to its own base.`,
    );
  return store({ ...facts, ...(await facts.findWords?.()) }, { patch, testPatch, testCommit, testFiles });
}

async function store(
  facts: ChangeFacts,
  made: {
    readonly patch: Buffer;
    readonly testPatch: Buffer;
    readonly testCommit: string;
    readonly testFiles: readonly string[];
  },
): Promise<MinedCandidate> {
  const { store: artefacts } = facts;
  const candidate: Candidate = {
    schema: 1,
    instanceId: facts.instanceId,
    source: facts.source,
    repo: facts.repo,
    language: 'python',
    mirror: facts.mirror.id,
    baseCommit: facts.base,
    testCommit: made.testCommit,
    version: facts.version,
    baseVersion: facts.baseVersion,
    createdAt: facts.createdAt,
    baseCreatedAt: facts.baseCreatedAt,
    patch: await artefacts.put(made.patch),
    testPatch: await artefacts.put(made.testPatch),
    testFiles: made.testFiles,
    problemStatement: await artefacts.put(cutText(facts.problemStatement, MAX_TEXT_CHARACTERS)),
    hintsText:
      facts.hintsText === null ? null : await artefacts.put(cutText(facts.hintsText, MAX_TEXT_CHARACTERS)),
    license: facts.license,
    provenance: facts.provenance,
  };
  return { ok: true, instanceId: facts.instanceId, candidate: await artefacts.putJson(candidate) };
}

const oidsOf = (change: RawChange): readonly string[] =>
  [change.oldOid, change.newOid].filter((oid) => !/^0+$/.test(oid));

/** Sizes of all blobs that a change removes or adds, by object id. */
async function sizesOf(
  mirror: SourceMirror,
  changes: readonly RawChange[],
): Promise<ReadonlyMap<string, number>> {
  const oids = [...new Set(changes.flatMap(oidsOf))];
  const sizes = await mirror.blobSizes(oids);
  return new Map(oids.map((oid, index) => [oid, sizes[index] ?? 0]));
}

/** Submodules and LFS pointers stand for content that is not in the repository: nothing can be run on them. */
async function findUnfillable(
  mirror: SourceMirror,
  base: string,
  changes: readonly RawChange[],
  sizes: ReadonlyMap<string, number>,
): Promise<Rejection | null> {
  const module = changes.find((change) => change.oldMode === '160000' || change.newMode === '160000');
  if (module) return { reason: 'submodule', detail: `The change moves the submodule ${module.path}.` };
  const tree = await mirror.listTree(base);
  const held = tree.find((entry) => entry.mode === '160000' && classifyPath(entry.path) !== 'doc');
  if (held) return { reason: 'submodule', detail: `The base tree holds the submodule ${held.path}.` };
  const attributes = tree.some((entry) => entry.path === '.gitattributes')
    ? await mirror.readFile(base, '.gitattributes')
    : null;
  const suspects = changes.flatMap((change) =>
    oidsOf(change).map((oid) => ({ oid, path: change.path, bytes: sizes.get(oid) ?? 0 })),
  );
  if (attributes?.includes('filter=lfs')) suspects.push(...tree);
  const pointer = await findPointer(mirror, suspects);
  return pointer === null
    ? null
    : { reason: 'lfs', detail: `${pointer} is a Git LFS pointer, its content is elsewhere.` };
}

async function findPointer(
  mirror: SourceMirror,
  suspects: readonly { readonly oid: string; readonly path: string; readonly bytes: number }[],
): Promise<string | null> {
  const small = suspects.filter(({ bytes }) => bytes > LFS_POINTER.length && bytes < LFS_POINTER_MAX_BYTES);
  const contents = await mirror.readBlobs(small.map(({ oid }) => oid));
  const at = contents.findIndex(
    (content) => content?.subarray(0, LFS_POINTER.length).toString('latin1') === LFS_POINTER,
  );
  return small[at]?.path ?? null;
}

const MAYBE_GENERATED = /(^|[/_])_{0,2}version_{0,2}\.py$|\.(c|cc|cpp|h)$/i;

/** Paths that packaging or version tools write, by name or by what the file says of itself. */
async function findGenerated(
  mirror: SourceMirror,
  changes: readonly RawChange[],
): Promise<ReadonlySet<string>> {
  const suspects = changes.filter(
    (change) => MAYBE_GENERATED.test(change.path) && change.newMode !== '000000',
  );
  const contents = await mirror.readBlobs(suspects.map((change) => change.newOid));
  return new Set(
    suspects.flatMap((change, index) =>
      isGeneratedText(contents[index]?.toString('utf8') ?? '') ? [change.path] : [],
    ),
  );
}

function findOversize(
  facts: ChangeFacts,
  changes: readonly RawChange[],
  split: { readonly properSource: readonly string[]; readonly test: readonly string[] },
  sizes: ReadonlyMap<string, number>,
): string | null {
  if (split.properSource.length > facts.limits.maxSourceFiles)
    return `The change touches ${split.properSource.length} source files; the limit is ${facts.limits.maxSourceFiles}.`;
  const tests = new Set(split.test);
  const oids = changes.filter((change) => tests.has(change.path)).flatMap(oidsOf);
  const bytes = oids.reduce((sum, oid) => sum + (sizes.get(oid) ?? 0), 0);
  return bytes > MAX_TEST_BYTES
    ? `The changed test files hold ${bytes} bytes; the limit is ${MAX_TEST_BYTES}.`
    : null;
}

function describeChange(changes: readonly RawChange[]): string {
  const names = changes.slice(0, 5).map((change) => change.path);
  return changes.length === 0
    ? 'the trees are equal'
    : `${changes.length} changed: ${names.join(', ')}${changes.length > 5 ? ', …' : ''}`;
}
