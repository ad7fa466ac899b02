import { hostname } from 'node:os';
import type { Command } from 'commander';
import { ATTACKS } from '../../audit/registry.ts';
import { runAudit } from '../../audit/run.ts';
import { auditTable } from '../../audit/table.ts';
import type { Attack } from '../../audit/types.ts';
import { openState } from '../../setup/state.ts';
import { createFsArtefactStore } from '../../store/fs.ts';
import { settingsFrom, withDependencies, type GlobalOptions } from '../context.ts';
import { createOutput, EXIT, table, UsageError } from '../output.ts';
import { readRows } from '../rows.ts';

interface AuditOptions extends GlobalOptions {
  readonly dataset?: string;
  readonly campaign?: string;
  readonly sample?: number;
  readonly attacks?: string;
  readonly tries: number;
  readonly instances?: readonly string[];
  readonly jobs?: number;
  readonly list?: boolean;
}

/** `audit`: the standing adversary suite. */
export function addAuditCommand(root: Command): void {
  root
    .command('audit')
    .description('run hostile predictions and agents on a dataset: gold must score 1, each of them 0')
    .option('-d, --dataset <campaign|file>', 'a campaign of this installation, or a dataset.jsonl')
    .option('--campaign <name>', 'the same, by the name of a campaign')
    .option('--sample <n>', 'only so many instances, taken from the repositories in turn', Number)
    .option('--attacks <names>', 'only these, comma separated')
    .option('--tries <n>', 'how often an attack that guesses is made on each instance', Number, 3)
    .option('-i, --instances <ids...>', 'only these instances')
    .option('-j, --jobs <n>', 'containers at once on this host', Number)
    .option('--list', 'say what each attack tries, and run nothing')
    .action(audit);
}

async function audit(_options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<AuditOptions>();
  const output = createOutput({ json: options.json === true });
  const attacks = chosenAttacks(options.attacks);
  if (options.list === true) {
    const known = attacks.map(({ name, kind, tries, expected }) => ({ name, kind, tries, expected }));
    output.result(known, table(known.map((one) => [one.name, one.tries])));
    return;
  }
  for (const [flag, value] of [
    ['--sample', options.sample],
    ['--tries', options.tries],
    ['-j', options.jobs],
  ] as const)
    if (value !== undefined && !(Number.isInteger(value) && value > 0))
      throw new UsageError(`${flag} needs a whole number of at least 1.`);
  const dataset = options.dataset ?? options.campaign;
  if (dataset === undefined) throw new UsageError('Say what to audit: -d CAMPAIGN or -d dataset.jsonl.');
  // all that the caller can get wrong is found before anything is started
  const { stateDir } = settingsFrom(options);
  const store = createFsArtefactStore((await openState(stateDir)).paths.artefacts);
  const read = await readRows({ stateDir, store }, dataset, options.instances);
  const rows = sampleOf(read.rows, options.sample).map((row) => ({
    row,
    provenCanaries: read.provenCanaries(row.instance_id),
  }));
  const bare = rows.filter(({ provenCanaries }) => provenCanaries === null).length;
  if (bare > 0) output.say(`${bare} of ${rows.length} rows have no canaries: forged results pass there.`);
  output.say(`${attacks.length} attacks on ${rows.length} instances of ${dataset}.`);
  const report = await withDependencies(
    options,
    output,
    async (deps) =>
      runAudit(
        { ...deps, ecosystem: deps.ecosystemFor(null) },
        {
          rows,
          attacks,
          tries: options.tries,
          slots: options.jobs ?? deps.settings.sandboxSlots,
          repetition: Date.now(),
          context: {
            owner: { installation: deps.state.installation, host: hostname() },
            heartbeat: () => undefined,
            signal: stopSignal(),
          },
          onProgress: ({ done, total, what, verdict, held }) =>
            output.say(`${done}/${total}  ${what}: ${verdict ?? 'no hold'}${held ? '' : ', NOT HELD'}`),
        },
      ),
    { docker: true },
  );
  const { rows: lines, below } = auditTable(report);
  output.result(report, [table(lines), ...below].join('\n'));
  if (!report.held) process.exitCode = EXIT.failed;
}

/** Ends the containers in good order at the first signal; a second one ends the process. */
function stopSignal(): AbortSignal {
  const abort = new AbortController();
  const stop = (): void => abort.abort(new Error('The audit was stopped.'));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  return abort.signal;
}

function chosenAttacks(names: string | undefined): readonly Attack[] {
  if (names === undefined) return ATTACKS;
  return names.split(',').map((name) => {
    const found = ATTACKS.find((attack) => attack.name === name.trim());
    if (found === undefined)
      throw new UsageError(`There is no attack "${name.trim()}"; \`repoforge audit --list\` names them.`);
    return found;
  });
}

/** So many rows, one from each repository in turn. */
function sampleOf<Row extends { readonly repo: string }>(
  rows: readonly Row[],
  count = rows.length,
): readonly Row[] {
  const seen = new Map<string, number>();
  const ranked = rows.map((row, index) => {
    const turn = seen.get(row.repo) ?? 0;
    seen.set(row.repo, turn + 1);
    return { row, turn, index };
  });
  return ranked
    .toSorted((a, b) => a.turn - b.turn || a.index - b.index)
    .slice(0, count)
    .map(({ row }) => row);
}
