// `npm run demo`: the main job on real input. A campaign over the release history of real packages from the package index,
// to published, validated, labelled instances with a dataset and an HTML report.
import { DEFAULT_RUN_LIMITS } from '../src/domain/runs.ts';
import { runCampaign } from '../src/cli/campaigns.ts';
import { UsageError } from '../src/cli/output.ts';
import type { Output } from '../src/cli/output.ts';
import { campaignSummary, summaryText } from '../src/cli/summary.ts';
import type { Session } from '../src/setup/session.ts';
import { listed, parseOptions, runScript } from './script.ts';
import type { ScriptOptions } from './script.ts';

const DEFAULT_PACKAGES = 'cachetools,humanize,sqlparse,more-itertools,boltons';
const RUNTIME = '3.11'; // one base image keeps the first set-up short; a campaign file can name more
const PUBLISHED_GOAL = 12;
const SPARE_PER_PACKAGE = 2; // a package whose releases yield nothing is made up for by the others

const USAGE = 'Usage: npm run demo -- [--packages a,b,c,d] [--instances N] [--json] [--state DIR]';

interface Options extends ScriptOptions {
  readonly packages: readonly string[];
  readonly instances: number;
}

await runScript('demo', readOptions, demo);

function readOptions(): Options {
  const values = parseOptions(
    {
      packages: { type: 'string', default: DEFAULT_PACKAGES },
      instances: { type: 'string', default: String(PUBLISHED_GOAL) },
      json: { type: 'boolean', default: false },
      state: { type: 'string' },
    },
    USAGE,
  );
  const packages = listed(values.packages);
  const instances = Number(values.instances);
  if (packages.length === 0 || !Number.isInteger(instances) || instances < 1) throw new UsageError(USAGE);
  return { packages, instances, json: values.json, state: values.state };
}

async function demo(session: Session, output: Output, { packages, instances }: Options): Promise<void> {
  const setupMs = await makeBase(session);
  output.say(
    `Mining ${packages.join(', ')} for ${instances} instances (set-up took ${(setupMs / 1000).toFixed(0)} s).`,
  );
  const startedMs = performance.now();
  const { started, result } = await runCampaign(
    session,
    {
      name: 'demo',
      fresh: true,
      sources: packages.map((pypi) => ({
        pypi,
        maxInstances: Math.ceil(instances / packages.length) + SPARE_PER_PACKAGE,
      })),
      options: {
        maxInstances: instances,
        runtimes: [RUNTIME],
        width: 4, // two slots on two cores, and the next ones' light stages meanwhile
        passToPassBudgetMs: 15_000,
        runLimits: { ...DEFAULT_RUN_LIMITS, memoryBytes: 1024 ** 3, timeoutMs: 120_000 }, // some hang without their fix
        minePageSize: 5, // a release is downloaded and read when it is needed, not long before
      },
    },
    output,
  );
  const summary = await campaignSummary(session, started.name, result, performance.now() - startedMs);
  output.result({ ...summary, setup_ms: Math.round(setupMs), state: result.state }, summaryText(summary));
  if (summary.published < instances) {
    output.say(`Only ${summary.published} of ${instances} instances could be published from these packages.`);
    process.exitCode = 1;
  }
}

/** The base image is set-up: pulled or made once per daemon, and not part of the time that is measured. */
async function makeBase({ deps }: Session): Promise<number> {
  const startedMs = performance.now();
  const base = deps.baseImages.available().find(({ runtimeVersion }) => runtimeVersion === RUNTIME);
  if (base === undefined) throw new Error(`No base image for Python ${RUNTIME} can be had on this machine.`);
  await deps.baseImages.ensure(base.base, base.runtimeVersion, []);
  return performance.now() - startedMs;
}
