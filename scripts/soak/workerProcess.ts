/** A worker process of all roles on the installation that the environment names. Says `ready` once it polls; ends by signal. */
import pino from 'pino';
import { openSession } from '../../src/setup/session.ts';
import { readSettings } from '../../src/setup/settings.ts';

const settings = readSettings();
const log = pino({ level: settings.logLevel }, pino.destination({ dest: 2, sync: true }));
const session = await openSession({ settings, log, say: (line) => process.stderr.write(`${line}\n`) });
const workers = await session.startWorkers();
process.on('SIGTERM', () => void workers.stop());
process.stdout.write('ready\n');
await workers.ended;
await session.close();
