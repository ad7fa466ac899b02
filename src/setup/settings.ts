import { availableParallelism, totalmem } from 'node:os';
import { isAbsolute } from 'node:path';
import leven from 'leven';
import { z } from 'zod';
import { DEFAULT_RUN_LIMITS } from '../domain/runs.ts';
import type { TokenPrices } from '../labeling/types.ts';
import { secret, type Secret } from './secret.ts';
import { defaultCacheDir, defaultStateDir } from './state.ts';

/** Everything that the environment says, read once and checked. Secrets print as `[secret]`. */
export interface Settings {
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly temporalCli: string | null;
  readonly temporalUiUrl: string | null;
  readonly queuePrefix: string | null;
  readonly diskFloorBytes: number;
  readonly workspaceCacheBytes: number;
  readonly sandboxSlots: number;
  /** Workspaces of agents open at once on this host; null: twice the sandbox slots. */
  readonly openEpisodes: number | null;
  /** Requests to models at once; null: the workers' own default. */
  readonly llmSlots: number | null;
  readonly baseRegistry: string | null;
  readonly buildNetwork: string | null;
  readonly caBundle: string | null;
  /** Python of an environment that replaces ours; null: ours is made from its lock. */
  readonly trainerPython: string | null;
  readonly vllmPython: string | null;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  /** null: labels come from the heuristic. */
  readonly labelModel: LabelModelSettings | null;
  /** Address of the OpenAI-compatible server that rollouts sample from outside training, where no other is named. */
  readonly openaiBaseUrl: string;
  /** Its key. */
  readonly openaiApiKey: Secret | null;
  readonly github: { readonly tokens: readonly Secret[]; readonly apiUrl: string | null };
}

/** An OpenAI-compatible server that labels; spread into the labeller's own settings with `apiKey.reveal()`. */
export interface LabelModelSettings {
  readonly baseUrl: string;
  readonly apiKey: Secret | null;
  readonly model: string;
  readonly prices: TokenPrices | null;
}

/** One environment variable, for the README and for `doctor`. */
export interface Variable {
  readonly name: string;
  readonly doc: string;
  readonly secret?: true;
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
const OPENAI_DEFAULT_URL = 'https://api.openai.com/v1'; // the openai client's own default

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  K: 2 ** 10,
  KIB: 2 ** 10,
  KB: 1e3,
  M: 2 ** 20,
  MIB: 2 ** 20,
  MB: 1e6,
  G: 2 ** 30,
  GIB: 2 ** 30,
  GB: 1e9,
  T: 2 ** 40,
  TIB: 2 ** 40,
  TB: 1e12,
};

const bytes = z.string().transform((text, context) => {
  const [, number = '', unit = ''] = /^([\d.]+)\s*([A-Za-z]*)$/.exec(text) ?? [];
  const value = Number(number) * (UNITS[unit.toUpperCase()] ?? Number.NaN);
  if (number !== '' && Number.isFinite(value)) return Math.round(value);
  context.addIssue('a size is a number with a unit, such as 5GiB or 800MB');
  return z.NEVER;
});
const path = z.string().refine(isAbsolute, 'an absolute path is needed');
const url = z.url({ protocol: /^https?$/, error: 'an http or https address is needed' });
const price = z.coerce.number({ error: 'a price is a number: US dollars per million tokens' }).nonnegative();
const slots = z.coerce
  .number({ error: 'a whole number of at least 1 is needed' })
  .int('a whole number of at least 1 is needed')
  .min(1, 'a whole number of at least 1 is needed')
  .max(1_000);
const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'letters, digits, dots, dashes and underscores only');

const OWN = {
  REPOFORGE_STATE: {
    doc: 'State directory: installation id, artefacts, records, Temporal database. Default: $XDG_STATE_HOME/repoforge, else ~/.local/state/repoforge.',
    schema: z.string(),
  },
  REPOFORGE_CACHE: {
    doc: 'Cache directory; all in it can be made again. Default: $XDG_CACHE_HOME/repoforge, else ~/.cache/repoforge.',
    schema: z.string(),
  },
  REPOFORGE_TEMPORAL_CLI: {
    doc: 'Path of the Temporal CLI for the embedded server. Default: `temporal` on PATH, else downloaded or built once.',
    schema: path,
  },
  REPOFORGE_TEMPORAL_UI: {
    doc: 'Address of Temporal UI beside a server named by TEMPORAL_ADDRESS, for the links that we print.',
    schema: url,
  },
  REPOFORGE_QUEUE_PREFIX: {
    doc: 'Prefix of task queues and workflow ids; give two installations that share a Temporal namespace different ones. Default: repoforge.',
    schema: name,
  },
  REPOFORGE_DISK_FLOOR: {
    doc: 'Free space below which nothing is built, e.g. 5GiB (the default). Builds wait until there is room.',
    schema: bytes,
  },
  REPOFORGE_WORKSPACE_CACHE: {
    doc: 'Size that prepared workspaces (a base tree with its offline install, as one file) and what rows pin (trees, configuration, test files) may take together, e.g. 4GiB (the default); the longest unused goes first.',
    schema: bytes,
  },
  REPOFORGE_SANDBOX_SLOTS: {
    doc: 'Containers that run at once on this host. Default: the number of cores, and no more than memory has room for (4 GiB each).',
    schema: slots,
  },
  REPOFORGE_OPEN_EPISODES: {
    doc: "Workspaces of agents that are open at once on this host: while one agent's model answers, another's commands run. Default: twice the sandbox slots.",
    schema: slots,
  },
  REPOFORGE_LLM_SLOTS: {
    doc: 'Requests to language models that are under way at once in this process: labels and rollouts. Default: 32.',
    schema: slots,
  },
  REPOFORGE_BASE_REGISTRY: {
    doc: 'Registry (with path, if any) that has the base images; where none answers they are made by debootstrap; `none` skips the question.',
    schema: z.string(),
  },
  REPOFORGE_BUILD_NETWORK: {
    doc: "Docker network of build containers. Default: bridge, or host when index or proxy are on this host's loopback.",
    schema: name,
  },
  REPOFORGE_CA_BUNDLE: {
    doc: "CA bundle for build containers, mounted read-only. Default: what the installer uses, else the distribution's.",
    schema: path,
  },
  REPOFORGE_TRAINER_PYTHON: {
    doc: "Python of an environment with torch, transformers, peft, fastapi and uvicorn for the trainer. Default: made by uv from the trainer's lock.",
    schema: path,
  },
  REPOFORGE_VLLM_PYTHON: {
    doc: 'Python of an environment with vLLM, e.g. its GPU build. Default: made by uv, vLLM for a CPU.',
    schema: path,
  },
  REPOFORGE_LABEL_MODEL: {
    doc: 'Model that labels, on the server of OPENAI_BASE_URL or OPENAI_API_KEY. Without it labels are heuristic and cost nothing.',
    schema: z.string(),
  },
  REPOFORGE_LABEL_PRICE_INPUT: {
    doc: 'US dollars per million prompt tokens of the label model.',
    schema: price,
  },
  REPOFORGE_LABEL_PRICE_CACHED_INPUT: {
    doc: 'US dollars per million prompt tokens that the server had cached. Default: the input price.',
    schema: price,
  },
  REPOFORGE_LABEL_PRICE_OUTPUT: {
    doc: 'US dollars per million completion tokens of the label model.',
    schema: price,
  },
  REPOFORGE_LOG_LEVEL: {
    doc: `Log level on stderr: ${LOG_LEVELS.join(', ')}. Default: warn.`,
    schema: z.enum(LOG_LEVELS, { error: `one of ${LOG_LEVELS.join(', ')} is needed` }),
  },
} as const;

const FOREIGN = {
  OPENAI_API_KEY: {
    doc: "Key of the label model's server, and of those that rollouts sample from.",
    schema: z.string(),
    secret: true,
  },
  OPENAI_BASE_URL: { doc: 'Address of any OpenAI-compatible server, up to and including /v1.', schema: url },
  GITHUB_TOKEN: { doc: 'Token for the github source.', schema: z.string(), secret: true },
  GITHUB_TOKENS: {
    doc: 'Several tokens, separated by commas or spaces; they are used in turn as their rate limits allow.',
    schema: z.string(),
    secret: true,
  },
  GITHUB_API_URL: { doc: "Address of GitHub's API; for GitHub Enterprise.", schema: url },
} as const;

/** Read by Temporal's own configuration loader, not by us; listed for people. */
const TEMPORAL: readonly Variable[] = [
  { name: 'TEMPORAL_ADDRESS', doc: 'host:port of a Temporal server. It wins over the embedded one.' },
  { name: 'TEMPORAL_NAMESPACE', doc: 'Namespace on that server. Default: default.' },
  { name: 'TEMPORAL_API_KEY', doc: 'API key of that server, e.g. Temporal Cloud.', secret: true },
  {
    name: 'TEMPORAL_PROFILE',
    doc: "Profile in Temporal's own configuration file (~/.config/temporalio/temporal.toml).",
  },
  {
    name: 'TEMPORAL_CONFIG_FILE',
    doc: 'Another place of that file. TEMPORAL_TLS_* and TEMPORAL_GRPC_META_* are read too.',
  },
];

/** Every variable that changes what RepoForge does, in the README's order. */
export const VARIABLES: readonly Variable[] = [
  ...Object.entries({ ...OWN, ...FOREIGN }).map(([variable, entry]) => ({
    name: variable,
    doc: entry.doc,
    ...('secret' in entry ? { secret: true as const } : {}),
  })),
  ...TEMPORAL,
];

type Table = typeof OWN & typeof FOREIGN;
type Values = { readonly [Name in keyof Table]?: z.infer<Table[Name]['schema']> };

/** As many as there are cores, and as memory has room for when each takes its whole limit. */
const defaultSlots = (): number =>
  Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / DEFAULT_RUN_LIMITS.memoryBytes)));

/**
 * Reads the environment. An empty variable counts as unset.
 * Throws one Error that names every variable that is unknown (with the one that was meant) or has a wrong value; the
 * values of secrets are never in it.
 */
export function readSettings(env: NodeJS.ProcessEnv = process.env): Settings {
  const { values, problems } = check(env);
  const labelModel = labelModelOf(values, problems);
  if (problems.length > 0)
    throw new Error(`Wrong settings in the environment:\n${problems.map((line) => `  ${line}`).join('\n')}`);
  const tokens = [values.GITHUB_TOKEN ?? '', ...(values.GITHUB_TOKENS ?? '').split(/[\s,]+/)].filter(Boolean);
  return {
    stateDir: defaultStateDir(env),
    cacheDir: defaultCacheDir(env),
    temporalCli: values.REPOFORGE_TEMPORAL_CLI ?? null,
    temporalUiUrl: values.REPOFORGE_TEMPORAL_UI?.replace(/\/+$/, '') ?? null,
    queuePrefix: values.REPOFORGE_QUEUE_PREFIX ?? null,
    diskFloorBytes: values.REPOFORGE_DISK_FLOOR ?? 5 * 2 ** 30, // a wheel of 2 GB, unpacked, and room to breathe
    workspaceCacheBytes: values.REPOFORGE_WORKSPACE_CACHE ?? 4 * 2 ** 30,
    sandboxSlots: values.REPOFORGE_SANDBOX_SLOTS ?? defaultSlots(),
    openEpisodes: values.REPOFORGE_OPEN_EPISODES ?? null,
    llmSlots: values.REPOFORGE_LLM_SLOTS ?? null,
    baseRegistry: values.REPOFORGE_BASE_REGISTRY?.replace(/\/+$/, '') ?? null,
    buildNetwork: values.REPOFORGE_BUILD_NETWORK ?? null,
    caBundle: values.REPOFORGE_CA_BUNDLE ?? null,
    trainerPython: values.REPOFORGE_TRAINER_PYTHON ?? null,
    vllmPython: values.REPOFORGE_VLLM_PYTHON ?? null,
    logLevel: values.REPOFORGE_LOG_LEVEL ?? 'warn',
    labelModel,
    openaiBaseUrl: values.OPENAI_BASE_URL ?? OPENAI_DEFAULT_URL,
    openaiApiKey: values.OPENAI_API_KEY === undefined ? null : secret(values.OPENAI_API_KEY),
    github: { tokens: [...new Set(tokens)].map(secret), apiUrl: values.GITHUB_API_URL ?? null },
  };
}

function check(env: NodeJS.ProcessEnv): { readonly values: Values; readonly problems: string[] } {
  const table: Readonly<Record<string, { readonly schema: z.ZodType; readonly secret?: true }>> = {
    ...OWN,
    ...FOREIGN,
  };
  const values: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [variable, text] of Object.entries(env)) {
    const entry = table[variable];
    if (entry === undefined) {
      if (variable.startsWith('REPOFORGE_')) problems.push(unknownVariable(variable));
    } else if (text) {
      const parsed = entry.schema.safeParse(text);
      if (parsed.success) values[variable] = parsed.data;
      else
        problems.push(
          `${variable}${entry.secret || text.includes('@') ? '' : `=${text.slice(0, 200)}`}: ${parsed.error.issues[0]?.message}`,
        );
    }
  }
  return { values, problems };
}

function labelModelOf(values: Values, problems: string[]): LabelModelSettings | null {
  const { REPOFORGE_LABEL_MODEL: model, OPENAI_API_KEY: key, OPENAI_BASE_URL: baseUrl } = values;
  const { REPOFORGE_LABEL_PRICE_INPUT: input, REPOFORGE_LABEL_PRICE_OUTPUT: output } = values;
  if ((input === undefined) !== (output === undefined)) {
    problems.push(
      'REPOFORGE_LABEL_PRICE_INPUT and REPOFORGE_LABEL_PRICE_OUTPUT belong together: set both or none',
    );
  }
  if (model === undefined) return null;
  if (key === undefined && baseUrl === undefined) {
    problems.push(
      "REPOFORGE_LABEL_MODEL needs a server: set OPENAI_API_KEY, or OPENAI_BASE_URL for another than OpenAI's",
    );
  }
  const cached = values.REPOFORGE_LABEL_PRICE_CACHED_INPUT;
  const prices =
    input === undefined || output === undefined
      ? null
      : { input, output, ...(cached === undefined ? {} : { cachedInput: cached }) };
  return {
    model,
    baseUrl: baseUrl ?? OPENAI_DEFAULT_URL,
    apiKey: key === undefined ? null : secret(key),
    prices,
  };
}

function unknownVariable(variable: string): string {
  const [best] = Object.keys(OWN)
    .map((known) => ({ known, distance: leven(variable, known) }))
    .toSorted((a, b) => a.distance - b.distance);
  const hint = best !== undefined && best.distance <= 5 ? `; did you mean ${best.known}?` : '';
  return `${variable} is not a setting of RepoForge${hint}`;
}
