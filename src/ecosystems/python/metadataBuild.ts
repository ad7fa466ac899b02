import type { Readable } from 'node:stream';
import type { IsoTime } from '../../domain/types.ts';
import { readPkgInfo } from './legacyMetadata.ts';
import type { ProjectMetadata } from './projectMetadata.ts';
import { throwIfKilled, throwIfUndelivered } from './storeContainer.ts';
import type { StoreContainer } from './storeContainer.ts';

export interface MetadataBuildInput {
  readonly backend: string;
  readonly requires: readonly string[];
  /** Version that scm-versioned projects are told. */
  readonly version: string;
  readonly cutoff: IsoTime;
  readonly backendCutoff: IsoTime;
}

export type MetadataBuild =
  | { readonly ok: true; readonly metadata: Pick<ProjectMetadata, 'name' | 'dependencies' | 'extras'> }
  | { readonly ok: false; readonly detail: string };

/** Calls the back end's own hook (PEP 517) on a scratch copy and prints METADATA; falls back to building the wheel. */
const PROGRAM = String.raw`
import importlib, os, sys, zipfile
sys.path.insert(0, os.getcwd())
module, _, attribute = sys.argv[1].partition(":")
backend = importlib.import_module(module)
for part in attribute.split("."):
    backend = getattr(backend, part) if part else backend
os.makedirs("/tmp/metadata", exist_ok=True)
real, sys.stdout = sys.stdout, sys.stderr
out = os.dup(1)
os.dup2(2, 1)
if hasattr(backend, "prepare_metadata_for_build_wheel"):
    folder = backend.prepare_metadata_for_build_wheel("/tmp/metadata")
    text = open(os.path.join("/tmp/metadata", folder, "METADATA"), encoding="utf-8").read()
else:
    wheel = zipfile.ZipFile(os.path.join("/tmp/metadata", backend.build_wheel("/tmp/metadata")))
    text = wheel.read([n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")][0]).decode()
os.write(out, text.encode())
`;

/**
 * Requirements of a project that only its own build can tell (setup.py, dynamic metadata), by a real metadata build of
 * the base tree with build requirements of the time. Runs in the build sandbox, as every build does.
 */
export async function buildMetadata(
  container: StoreContainer,
  tree: Readable,
  input: MetadataBuildInput,
): Promise<MetadataBuild> {
  await container.exec(['mkdir', '-p', '/tmp/source']);
  await container.sandbox.putTree(tree, '/tmp/source');
  const tools = input.requires.map((line) => /^[a-z0-9-]+/.exec(line)?.[0] ?? line);
  const dates = [...new Set(['setuptools', 'wheel', ...tools])].flatMap((name) => [
    '--exclude-newer-package',
    `${name}=${input.backendCutoff}`,
  ]);
  const requires = input.requires.flatMap((line) => ['--with', line]);
  const result = await container.exec(
    [
      'sh',
      '-c',
      'cd /tmp/source && exec uv run --no-project --isolated --quiet --python python3 "$@"',
      'sh',
      '--exclude-newer',
      input.cutoff,
      ...dates,
      ...requires,
      'python',
      '-c',
      PROGRAM,
      input.backend,
    ],
    '',
    { SETUPTOOLS_SCM_PRETEND_VERSION: input.version, PBR_VERSION: input.version, UV_LINK_MODE: 'copy' },
  );
  const output = result.stderr.toString('utf8');
  if (result.exitCode !== 0) {
    throwIfUndelivered(output, "Building the project's metadata");
    throwIfKilled(result, "Building the project's metadata");
    return { ok: false, detail: `The project's metadata cannot be built: ${output.trim().slice(-1_500)}` };
  }
  const { name, dependencies, extras } = readPkgInfo(result.stdout.toString('utf8'), true);
  return { ok: true, metadata: { name, dependencies, extras } };
}
