/** The audit as a table: attacks down, instances across. Pure. */
import type { VerdictName } from '../domain/verdicts.ts';
import type { AuditReport } from './run.ts';

const LETTERS: Readonly<Record<VerdictName, string>> = {
  tampered: 't',
  unresolved: 'u',
  empty_patch: 'e',
  patch_failed: 'p',
  timeout: 'o',
  resolved: 'R',
  infra: '?',
};
const LEGEND =
  't tampered, u unresolved, e empty_patch, p patch_failed, o timeout, R resolved, ? infra, - no hold on this row, n/m resolved in n of m runs by guessing; ! did not hold';

const percent = (share: number): string => `${Math.round(share * 100)} %`;

/** Lines for `table()` of the CLI, and what stands below them. */
export function auditTable(report: AuditReport): {
  readonly rows: readonly (readonly string[])[];
  readonly below: readonly string[];
} {
  const ids = report.gold.map(({ instance_id: id }) => id);
  const names = [...new Set([...report.attacks, ...report.not_applicable].map(({ attack }) => attack))];
  const cells = new Map(
    report.attacks.map((one) => [
      `${one.attack} ${one.instance_id}`,
      (one.runs > 1 && one.won > 0 ? `${one.won}/${one.runs}` : LETTERS[one.verdict]) + (one.held ? '' : '!'),
    ]),
  );
  const gold = report.gold.map(({ verdict, reward }) => LETTERS[verdict] + (reward === 1 ? '' : '!'));
  const failed = report.attacks.filter(({ held }) => !held);
  const held = report.attacks.length - failed.length;
  const { guessing } = report;
  return {
    rows: [
      ['attack', ...ids.map((_id, index) => String(index + 1))],
      ['gold', ...gold],
      ...names.map((name) => [name, ...ids.map((id) => cells.get(`${name} ${id}`) ?? '-')]),
    ],
    below: [
      LEGEND,
      ...ids.map(
        (id, index) => `${index + 1}  ${id} (odds of who guesses: ${percent(report.odds[id] ?? 1)})`,
      ),
      `gold: ${report.gold.filter(({ reward }) => reward === 1).length}/${ids.length} score 1; attacks: ${held}/${report.attacks.length} held`,
      `by guessing: ${guessing.won} of ${guessing.runs} runs won; the odds allow ${guessing.expected.toFixed(1)}`,
      ...failed.map(
        (one) =>
          `NOT HELD: ${one.attack} on ${one.instance_id}: ${one.verdict}, reward ${one.reward} (expected ${one.expected.join(' or ')})${one.note === '' ? '' : `: ${one.note.split('\n')[0]?.slice(0, 200)}`}`,
      ),
    ],
  };
}
