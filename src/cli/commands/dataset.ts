import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { canonicalJson } from '../../domain/canonical.ts';
import { EXPORT_FORMATS, exportDataset, type ExportFormat } from '../../export/dataset.ts';
import { parseMaxScores } from '../../export/filters.ts';
import { goldRunOf } from '../../export/goldRun.ts';
import { DEFAULT_IMAGE_NAMESPACE, instanceImage } from '../../export/imageNames.ts';
import { buildImages, checkImages, cleanImages } from '../../export/images.ts';
import { pythonImageParts, pythonRunner } from '../../export/pythonImages.ts';
import { importClassic } from '../../import/classic.ts';
import { readCampaignFigures } from '../../report/campaign.ts';
import { writeAtomically } from '../../report/write.ts';
import { connectDocker } from '../../sandbox/docker.ts';
import { withDependencies, type GlobalOptions } from '../context.ts';
import { createOutput, EXIT, table, UsageError } from '../output.ts';
import { readRows } from '../rows.ts';

/** `report`, `export`, `images build|check|clean`: what one does with a published dataset. */
export function addDatasetCommands(root: Command): void {
  root
    .command('report')
    .description("write a campaign's static HTML report again, also while it runs")
    .argument('<campaign>')
    .action(async (campaign: string, _options: object, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const output = createOutput({ json: options.json === true });
      await withDependencies(options, output, async (deps) => {
        const report = await deps.writeReport(campaign);
        const figures = await readCampaignFigures(deps.state.dir, campaign);
        output.result({ campaign, report, figures }, `Report: ${report}`);
      });
    });
  root
    .command('export')
    .description('write a dataset in SWE-bench classic, v5 or native form')
    .argument('<campaign|file>', 'a campaign of this installation, or a dataset.jsonl')
    .option('-f, --format <format>', `one of ${EXPORT_FORMATS.join(', ')}`, 'classic')
    .requiredOption('-o, --out <file>', 'file to write')
    .option(
      '--max-scores <clarity,tests,effort>',
      "keep rows whose label scores are at most these; 1,1,1 is the paper's filter",
    )
    .option('--licenses <names...>', 'keep rows under these licences')
    .option('--namespace <name>', 'image namespace of v5 rows', DEFAULT_IMAGE_NAMESPACE)
    .action(exportRows);
  root
    .command('import')
    .description('make native rows of SWE-bench classic rows (JSON or JSONL; lists as text or as lists)')
    .argument('<file>')
    .requiredOption('-o, --out <file>', 'native dataset to write')
    .requiredOption('--repo <owner/name=path-or-url...>', 'git repository that has the base commits')
    .action(importRows);
  const images = root
    .command('images')
    .description('ordinary layered images of instances, for other harnesses');
  images
    .command('build')
    .description('build base ← environment ← instance images; environments are built once')
    .argument('<campaign|file>')
    .option('-i, --instances <ids...>', 'only these instances')
    .option('--namespace <name>', 'image namespace', DEFAULT_IMAGE_NAMESPACE)
    .option('-j, --jobs <n>', 'images built side by side', Number, 2)
    .option('--dry-run', 'only say what would be built')
    .option('--force', 'build also what exists')
    .action(build);
  images
    .command('check')
    .description('which images of a dataset this daemon has')
    .argument('<campaign|file>')
    .option('--namespace <name>', 'image namespace', DEFAULT_IMAGE_NAMESPACE)
    .action(check);
  images
    .command('clean')
    .description('remove the images that this installation built')
    .option('--dry-run', 'only say what would be removed')
    .action(clean);
}

interface ExportOptions extends GlobalOptions {
  readonly format: string;
  readonly out: string;
  readonly maxScores?: string;
  readonly licenses?: readonly string[];
  readonly namespace: string;
}

async function exportRows(dataset: string, _options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<ExportOptions>();
  const output = createOutput({ json: options.json === true });
  const format = EXPORT_FORMATS.find((known) => known === options.format);
  if (format === undefined)
    throw new UsageError(`There is no format "${options.format}"; formats are ${EXPORT_FORMATS.join(', ')}.`);
  const maxScores = options.maxScores === undefined ? undefined : parseMaxScores(options.maxScores);
  if (maxScores !== undefined && 'problem' in maxScores) throw new UsageError(maxScores.problem);
  await withDependencies(options, output, async (deps) => {
    const rows = await readRows({ stateDir: deps.state.dir, store: deps.store }, dataset);
    const report = await exportDataset({
      rows: rows.rows,
      format: format satisfies ExportFormat,
      out: resolve(options.out),
      namespace: options.namespace,
      ...(maxScores === undefined ? {} : { maxScores }),
      ...(options.licenses === undefined ? {} : { licenses: options.licenses }),
      goldRun: (row) => goldRunOf(deps, rows.evidence.get(row.instance_id), row),
      runner: async (row) =>
        pythonRunner(deps, row, (await goldRunOf(deps, rows.evidence.get(row.instance_id), row))?.note ?? ''),
    });
    const { excluded, droppedTests } = report;
    output.result(
      report,
      [
        `${report.exported} of ${rows.rows.length} rows written to ${report.out} (${report.format}).`,
        `Left out: ${excluded.scores} by --max-scores, ${excluded.license} by licence, ${excluded.no_readable_fail_to_pass} whose parser can read no FAIL_TO_PASS.`,
        `Tests dropped: ${droppedTests.colliding} whose names the parser spells alike, ${droppedTests.unread} that it does not read in gold's log.`,
      ].join('\n'),
    );
  });
}

async function importRows(file: string, _options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<
    GlobalOptions & { readonly out: string; readonly repo: readonly string[] }
  >();
  const output = createOutput({ json: options.json === true });
  const repositories = new Map(options.repo.map(repositoryOf));
  await withDependencies(
    options,
    output,
    async (deps) => {
      const context = {
        owner: { installation: deps.state.installation, host: hostname() },
        heartbeat: () => {},
        signal: new AbortController().signal,
      };
      const imported = await importClassic(
        { ...deps, ecosystem: deps.ecosystemFor(null), context },
        { file, repositories },
      );
      const rows = imported.flatMap((entry) => (entry.ok ? [entry.row] : []));
      const problems = imported.flatMap((entry) => (entry.ok ? [] : [entry]));
      const out = resolve(options.out);
      await writeAtomically(out, rows.map((row) => `${canonicalJson(row)}\n`).join(''));
      output.result(
        { out, imported: rows.length, refused: problems },
        [
          `${rows.length} of ${imported.length} rows written to ${out}.`,
          ...problems.map(({ line, instanceId, problem }) => `  ${file}:${line}: ${instanceId}: ${problem}`),
        ].join('\n'),
      );
      if (problems.length > 0) process.exitCode = EXIT.failed;
    },
    { docker: true },
  );
}

function repositoryOf(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at < 3 || !text.slice(0, at).includes('/'))
    throw new UsageError(`--repo "${text}" is not of the form owner/name=PATH-OR-URL.`);
  return [text.slice(0, at), text.slice(at + 1)];
}

interface BuildOptions extends GlobalOptions {
  readonly instances?: readonly string[];
  readonly namespace: string;
  readonly jobs: number;
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

async function build(dataset: string, _options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<BuildOptions>();
  const output = createOutput({ json: options.json === true });
  await withDependencies(
    options,
    output,
    async (deps) => {
      const { rows } = await readRows(
        { stateDir: deps.state.dir, store: deps.store },
        dataset,
        options.instances,
      );
      const owner = { installation: deps.state.installation, host: hostname() };
      const context = { owner, heartbeat: () => {}, signal: new AbortController().signal };
      const report = await buildImages(
        {
          docker: connectDocker(),
          driver: deps.driver,
          baseImages: deps.baseImages,
          owner,
          log: deps.log,
          ...pythonImageParts({ ...deps, ecosystem: deps.ecosystemFor(null), context }),
        },
        {
          rows,
          namespace: options.namespace,
          workers: options.jobs,
          dryRun: options.dryRun === true,
          force: options.force === true,
        },
      );
      output.result(
        report,
        `${table(report.images.map(({ state, image, problem }) => [state, image, problem ?? '']))}\n${report.built} built, ${report.present} present, ${report.failed} failed; ${report.environments} environment layers.`,
      );
      if (report.failed > 0) process.exitCode = EXIT.failed;
    },
    { docker: true },
  );
}

async function check(dataset: string, _options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions & { readonly namespace: string }>();
  const output = createOutput({ json: options.json === true });
  await withDependencies(
    options,
    output,
    async (deps) => {
      const { rows } = await readRows({ stateDir: deps.state.dir, store: deps.store }, dataset);
      const found = await checkImages(
        connectDocker(),
        rows.map((row) => instanceImage(row.instance_id, options.namespace)),
      );
      output.result(
        found,
        `${found.present.length} present, ${found.missing.length} missing${found.missing.map((image) => `\n  ${image}`).join('')}`,
      );
      if (found.missing.length > 0) process.exitCode = EXIT.failed;
    },
    { docker: true },
  );
}

async function clean(_options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions & { readonly dryRun?: boolean }>();
  const output = createOutput({ json: options.json === true });
  await withDependencies(
    options,
    output,
    async (deps) => {
      const removed = await cleanImages(connectDocker(), deps.state.installation, {
        dryRun: options.dryRun === true,
      });
      output.result(
        { removed, dry_run: options.dryRun === true },
        `${options.dryRun === true ? 'Would remove' : 'Removed'} ${removed.length} images.${removed.map((image) => `\n  ${image}`).join('')}`,
      );
    },
    { docker: true },
  );
}
