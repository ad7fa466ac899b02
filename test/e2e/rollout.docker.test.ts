import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { forgetCampaign, forgetRollouts } from '../../src/cli/forget.ts';
import { readRows, type Rows } from '../../src/cli/rows.ts';
import { startCampaign, waitForCampaign } from '../../src/client/campaigns.ts';
import { startRollouts, waitForRollouts, type RolloutsRequest } from '../../src/client/rollouts.ts';
import type { Trajectory } from '../../src/domain/rl/trajectory.ts';
import { openSession, type Session } from '../../src/setup/session.ts';
import { readSettings } from '../../src/setup/settings.ts';
import type { Prediction } from '../../src/domain/verdicts.ts';
import type { RunningWorkers } from '../../src/workers/main.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import {
  startScriptedModel,
  type ScriptedAnswer,
  type ScriptedModel,
  type ScriptedRequest,
} from '../support/scriptedModel.ts';
import { temporalServer, uniquePrefix } from '../support/temporal.ts';
import { makeTinyRepository } from './tinyProject.ts';

let installation: TestInstallation;
let session: Session;
let workers: RunningWorkers;
let rows: Rows;
let model: ScriptedModel;
beforeAll(async () => {
  installation = await testInstallation();
  vi.stubEnv('TEMPORAL_ADDRESS', temporalServer().address);
  session = await openSession({
    settings: { ...readSettings(), stateDir: installation.stateDir, queuePrefix: uniquePrefix('rollout') },
    log: pino({ level: 'silent' }),
    say: () => undefined,
  });
  workers = await session.startWorkers(['control', 'mining', 'sandbox', 'llm']);
  const repository = join(installation.stateDir, 'tiny');
  await makeTinyRepository(repository);
  await startCampaign(session, {
    name: 'tiny',
    sources: [{ git: repository, name: 'test/tiny', maxInstances: 1 }],
    options: { runtimes: ['3.11'] },
  });
  await waitForCampaign(session, 'tiny');
  rows = await readRows({ stateDir: installation.stateDir, store: session.deps.store }, 'tiny');
  model = await startScriptedModel(scripted);
}, 900_000); // a busy machine
afterAll(async () => {
  await model?.close();
  await workers?.stop();
  await session?.close();
  await installation?.cleanup();
});

let kills = 0;

/** Takes the container of the episode away, once: as a host does that is restarted. */
async function killContainerOnce(): Promise<void> {
  if (kills > 0) return;
  kills += 1;
  const containers = await installation.driver.list(installation.installation);
  expect(containers).toHaveLength(1);
  for (const { id } of containers) await installation.docker.getContainer(id).remove({ force: true });
}

const bash = (command: string): ScriptedAnswer => ({ tool: 'bash', arguments: { command } });
const edit = (path: string, old: string, text: string): ScriptedAnswer => ({
  tool: 'edit',
  arguments: { path, old, new: text },
});
const finish: ScriptedAnswer = { tool: 'finish', arguments: {} };

const LOOK = 'python -m pytest -q; date; echo to stderr >&2; cat; sh -c "exit 3"';

/** The first attempt solves the instance (sub() subtracts, and there is a command), the second makes another change. */
const SOLUTION: readonly ScriptedAnswer[] = [
  bash(`echo attempt 0; ${LOOK}`),
  { text: 'I will change the file now.' }, // no action: the model is told so
  { text: '```edit src/tiny/calc.py\n<<<<<<<\n    return b - a\n=======\n    return a - b\n>>>>>>>\n```' },
  edit('src/tiny/main.py', '', "def main():\n    print('tiny')\n"),
  edit('src/tiny/calc.py', 'return', 'yield'), // occurs twice
  edit(
    'pyproject.toml',
    'requires-python = ">=3.9"\n',
    'requires-python = ">=3.9"\n\n[project.scripts]\ntiny = "tiny.main:main"\n',
  ),
  bash('python -c "from tiny.calc import sub; print(sub(3, 1))"; git status --short'),
  finish,
];
const MISTAKE: readonly ScriptedAnswer[] = [
  bash(`echo attempt 1; ${LOOK}`),
  edit('src/tiny/calc.py', 'return b - a', 'return b + a'),
  finish,
];

let attempts = 0;

async function scripted(turn: number, { messages, tools }: ScriptedRequest): Promise<ScriptedAnswer> {
  if (tools === undefined) return { text: letterOf(messages[0]?.content ?? '') };
  if (turn === 0) attempts += 1;
  const second = turn === 0 ? attempts === 2 : JSON.stringify(messages).includes('attempt 1');
  const answer = (second ? MISTAKE : SOLUTION)[turn];
  if (!second && turn === 6) await killContainerOnce();
  if (answer === undefined) throw new Error(`nothing is scripted for turn ${turn}`);
  return answer;
}

/** The selector's prompt shows two patches; one of them is right. */
const letterOf = (prompt: string): string =>
  prompt.indexOf('return a - b') < prompt.indexOf('return b + a') ? 'A' : 'I would say B.';

const request = (): RolloutsRequest => ({
  run: 'solve',
  dataset: rows.path,
  rows: rows.rows.map((row) => ({ row, provenCanaries: rows.provenCanaries(row.instance_id) })),
  agent: 'coder',
  model: 'scripted',
  servers: [`${model.url}/v1`],
  attempts: 2,
  selectModel: 'scripted',
  width: 1,
});

const play = async () => {
  const context = { ...session, store: session.deps.store };
  const { how } = await startRollouts(context, request());
  return { how, ...(await waitForRollouts(context, 'solve')) };
};

const EXPECTED = {
  state: 'done',
  counts: { done: 3, episodes: 2, resolved: 1, infra: 0, executed: 2, served: 1, sampledTokens: 120 },
  report: {
    passAtK: [
      { k: 1, value: 0.5, instances: 1 },
      { k: 2, value: 1, instances: 1 },
    ],
    chosen: { resolved: 1, instances: 1 },
  },
};

describe('coder on a real instance, two attempts of which the selector chooses one', () => {
  test('solves it in one of them, turn by turn, though its container is killed on the way', async () => {
    expect(await play()).toMatchObject({ how: 'started', ...EXPECTED });
    expect(kills).toBe(1);
    const [first, second] = await trajectories();
    expect(first).toMatchObject({ end: 'finished', verdict: 'resolved', reward: 1, turns: 8 });
    expect(second).toMatchObject({ end: 'finished', verdict: 'unresolved', reward: 0, turns: 3 });
    const steps = first?.steps.map(({ step }) => step) ?? [];
    expect(steps.map(({ action }) => action).join(' ')).toBe('bash invalid edit edit edit edit bash finish');
    expect(steps[0]?.observation).toMatch(/^exit code 3\nattempt 0\n[\s\S]*6 passed in [\s\S]*to stderr$/);
    expect(steps[1]?.observation).toMatch(/no action: no tool was called/);
    expect(steps[4]).toMatchObject({
      exitCode: 1,
      observation: 'exit code 1\nThe old text occurs 2 times in src/tiny/calc.py, not once.',
    });
    // done in the second container, on what was replayed there
    expect(steps[6]?.observation).toBe(
      'exit code 0\n2\n M pyproject.toml\n M src/tiny/calc.py\n?? src/tiny/main.py',
    );
    expect(model.conversations).toHaveLength(8 + 3 + 1);
    expect(await installation.driver.list(installation.installation)).toEqual([]);
  }, 300_000);

  test('leaves one prediction for the instance, the one that was chosen, as `evaluate` takes it', async () => {
    const [row] = rows.rows;
    const preds = JSON.parse(await readFile(join(directory(), 'preds.json'), 'utf8')) as Record<
      string,
      Prediction
    >;
    expect(Object.keys(preds)).toEqual([row?.instance_id]);
    const [only] = Object.values(preds);
    expect(only).toMatchObject({ instance_id: row?.instance_id, model_name_or_path: 'scripted' });
    expect(only?.model_patch).toContain('+    return a - b');
    const all = (await readFile(join(directory(), 'predictions.jsonl'), 'utf8')).trim().split('\n');
    expect(all.map((line) => (JSON.parse(line) as { chosen: boolean }).chosen)).toEqual([true, false]);
  });

  test('takes up a run that was there: nothing is sampled or run again', async () => {
    expect(await play()).toMatchObject({ how: 'resumed', ...EXPECTED });
    expect(model.conversations).toHaveLength(8 + 3 + 1);
  }, 300_000);

  test('is forgotten with its predictions, and so is the campaign', async () => {
    await expect(forgetRollouts(session, 'solved')).rejects.toThrow(/no run of rollouts "solved"/);
    await forgetRollouts(session, 'solve');
    expect(await session.records.list('rollouts/solve')).toEqual([]);
    expect(await readdir(join(installation.stateDir, 'rollouts'))).toEqual([]);
    await expect(forgetCampaign(session, 'big')).rejects.toThrow(/no campaign "big"/);
    await forgetCampaign(session, 'tiny');
    expect(await session.records.list('campaigns/tiny')).toEqual([]);
    expect(await readdir(session.state.paths.campaigns)).toEqual([]);
  });
});

const directory = (): string => join(installation.stateDir, 'rollouts', 'solve');

async function trajectories() {
  const dir = join(directory(), 'trajectories');
  const files = (await readdir(dir)).toSorted();
  return Promise.all(
    files.map(async (file) => {
      const { episodes } = JSON.parse(await readFile(join(dir, file), 'utf8')) as Trajectory;
      return episodes[0];
    }),
  );
}
