/** The bundle of the orchestration bench: the product's workflows as they are, and the loop that they are compared with. */
import { continueAsNew } from '@temporalio/workflow';
import { controlOn, sandboxOn } from '../../src/workflows/proxies.ts';

export * from '../../src/workflows/index.ts';

export interface BareLoopInput {
  readonly queuePrefix: string;
  /** Activities still to run. */
  readonly activities: number;
}

const AT_ONCE = 500;
const BATCHES_PER_RUN = 2; // 3,300 events: under the server's suggestion to continue as new

/** `Promise.all` over 500 activities at a time and nothing else, half of them on each of the campaign's busiest queues. */
export async function bareLoop({ queuePrefix, activities }: BareLoopInput): Promise<void> {
  const control = controlOn(queuePrefix);
  const sandbox = sandboxOn(queuePrefix);
  const stage = { campaign: 'bare', stage: 'bare', candidate: 'sha256:' } as const;
  const ground = { environment: 'bare', spec: 'sha256:', variant: 'pruned' } as const;
  let left = activities;
  for (let batch = 0; batch < BATCHES_PER_RUN && left > 0; batch += 1) {
    const count = Math.min(AT_ONCE, left);
    left -= count;
    await Promise.all(
      Array.from({ length: count }, (_, index) => {
        const of = { ...stage, instanceId: `bare-${left + index}` };
        return index % 2 === 0
          ? control.decideBefore({ ...of, before: 'sha256:' })
          : sandbox.checkLeaks({ ...of, ...ground });
      }),
    );
  }
  if (left > 0) await continueAsNew<typeof bareLoop>({ queuePrefix, activities: left });
}
