import type { Command } from 'commander';
import {
  pauseRollouts,
  resizeRollouts,
  resumeRollouts,
  rolloutsStatus,
  stopRollouts,
} from '../../client/rollouts.ts';
import type { EvaluationContext } from '../../client/evaluations.ts';
import type { Session } from '../../setup/session.ts';
import { UsageError } from '../output.ts';
import { rolloutsLine } from '../progress.ts';
import { addVerb, inSession } from '../steering.ts';

export const contextOf = (session: Session): EvaluationContext => ({ ...session, store: session.deps.store });

const RUN = { name: 'run', argument: '<run-id>' };

/** `rollout status|pause|resume|resize|stop`. */
export function addRolloutSteering(rollout: Command): void {
  const pause = { name: 'pause', description: 'start no new rollout; running ones go on', done: 'paused' };
  addVerb(rollout, pause, RUN, (session, run) => pauseRollouts(contextOf(session), run));
  const resume = { name: 'resume', description: 'go on after a pause', done: 'resumed' };
  addVerb(rollout, resume, RUN, (session, run) => resumeRollouts(contextOf(session), run));
  rollout
    .command('status')
    .description('how a run of rollouts is doing')
    .argument('<run-id>')
    .action(async (name: string, _options: object, command: Command) => {
      await inSession(command, RUN.name, async (session, output) => {
        const status = await rolloutsStatus(contextOf(session), name);
        if (status === null) throw new UsageError(`There is no run "${name}" on this Temporal server.`);
        const line =
          status.progress === null
            ? 'no worker answers; start one with `repoforge worker`'
            : rolloutsLine(status.progress);
        output.result(status, `${name}: ${status.status.toLowerCase()}; ${line}`);
      });
    });
  rollout
    .command('resize')
    .description('change how many rollouts are in flight')
    .argument('<run-id>')
    .requiredOption('--window <n>', 'rollouts in flight at once', Number)
    .action(async (name: string, options: { readonly window: number }, command: Command) => {
      await inSession(command, RUN.name, async (session, output) => {
        await resizeRollouts(contextOf(session), name, options.window);
        output.result(
          { name, window: options.window },
          `${name}: ${options.window} rollouts in flight from now on.`,
        );
      });
    });
  rollout
    .command('stop')
    .description('end a run with what is played so far; `rollout run` takes it up again')
    .argument('<run-id>')
    .option('--finish-running', 'let running rollouts end first')
    .action(async (name: string, options: { readonly finishRunning?: boolean }, command: Command) => {
      await inSession(command, RUN.name, async (session, output) => {
        await stopRollouts(contextOf(session), name, options.finishRunning === true ? 'finish' : 'cancel');
        output.result({ name, stopping: true }, `${name}: stopping.`);
      });
    });
}
