/**
 * A process that works like activities do: under a lease it puts contents, some of which are there already, and records what
 * it put; it takes back every third record, so that there is always something to sweep. Arguments: state directory, name, rounds.
 */
import { join } from 'node:path';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { createLeases } from '../../src/store/leases.ts';
import { createSweepGate } from '../../src/store/sweepGate.ts';

const [stateDir = '', name = '', rounds = '0'] = process.argv.slice(2);
const artefacts = join(stateDir, 'artefacts');
const store = createFsArtefactStore(artefacts);
const records = createFsRecordStore(join(stateDir, 'records'));
const leases = createLeases(join(stateDir, 'leases'), createSweepGate(artefacts));

for (let round = 0; round < Number(rounds); round += 1)
  await leases.hold(async () => {
    const log = await store.put(`log ${round % 7}`);
    const { ref } = { ref: await store.putJson({ round: round % 11, log }) };
    await new Promise((resolve) => setTimeout(resolve, round % 5)); // as long as it takes to find out more
    await records.record(`work/${name}-${round}`, { ref });
    if (round % 3 === 2) await records.remove(`work/${name}-${round}`);
  });
