import type { CoderAction } from '../agents/coder.ts';
import { COMMAND_TIMEOUT_MS, argumentOf, invalidObservation } from '../agents/coder.ts';
import { digestOf, observationOf } from '../agents/observation.ts';
import type { CommandEnd } from '../agents/observation.ts';
import type { Step } from '../domain/rl/trajectory.ts';
import type { AgentWorkspace } from '../ecosystems/python/agentWorkspace.ts';
import type { ExecResult } from '../sandbox/types.ts';

/** Kept of a command's output; what is shown of it is far less. */
const OUTPUT_BYTES = 2 ** 20;
const MAX_ARGUMENT_BYTES = 120_000; // the kernel takes 128 KiB for one argument

/** Does an action in an episode's workspace. Throws Infra when the workspace is gone, never for what the action did. */
export async function doAction(
  workspace: AgentWorkspace,
  action: CoderAction,
  options: { readonly observationCharacters: number; readonly signal: AbortSignal },
): Promise<Step> {
  const startedMs = Date.now();
  const { observation, exitCode, digest } = await perform(workspace, action, options);
  return {
    action: action.tool,
    argument: argumentOf(action),
    observation,
    exitCode,
    ...(digest === undefined ? {} : { digest }),
    startedMs,
    endedMs: Date.now(),
  };
}

async function perform(
  workspace: AgentWorkspace,
  action: CoderAction,
  { observationCharacters, signal }: Parameters<typeof doAction>[2],
): Promise<Pick<Step, 'observation' | 'exitCode' | 'digest'>> {
  const told = (observation: string) => ({ observation, exitCode: null });
  if (action.tool === 'invalid') return told(invalidObservation(action.why));
  if (action.tool === 'finish') return { observation: null, exitCode: null };
  if (action.tool === 'bash' && Buffer.byteLength(action.command) > MAX_ARGUMENT_BYTES)
    return told(invalidObservation(`the command is longer than ${MAX_ARGUMENT_BYTES} bytes`));
  const limits = { timeoutMs: COMMAND_TIMEOUT_MS, outputBytes: OUTPUT_BYTES, signal };
  const result =
    action.tool === 'bash'
      ? await workspace.exec(bashScript(action.command), limits)
      : await workspace.exec(EDIT_SCRIPT, { ...limits, stdin: JSON.stringify(action) });
  const end = endOf(result);
  return {
    observation: observationOf(end, observationCharacters),
    exitCode: end.exitCode,
    digest: digestOf(end),
  };
}

/** Both outputs in one stream, in the order in which they were written; nothing to read. */
const bashScript = (command: string): string => `exec bash -c ${quoted(command)} < /dev/null 2>&1`;

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

const endOf = ({ exitCode, output, outOfMemory, droppedBytes }: ExecResult): CommandEnd => ({
  exitCode,
  output: output.toString('utf8'),
  timeoutMs: COMMAND_TIMEOUT_MS,
  outOfMemory,
  droppedBytes,
});

/** Bytes that are no UTF-8 and line ends stay as they are; a model writes line feeds, so those match both kinds. */
const EDIT_PROGRAM = `
import json, os, sys
request = json.load(sys.stdin)
path = request["path"]
def end(message, code=1):
    print(message)
    sys.exit(code)
def encoded(text):
    return text.encode("utf-8", "surrogateescape")
old, new = request["old"], request["new"]
try:
    if old == "":
        if os.path.lexists(path) and os.path.getsize(path) > 0:
            end(path + " is there already: give the text to replace.")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "wb") as file:
            file.write(encoded(new))
        end("Made " + path + ".", 0)
    with open(path, "rb") as file:
        content = file.read()
    if b"\\r\\n" in content and "\\r" not in old:
        old, new = old.replace("\\n", "\\r\\n"), new.replace("\\n", "\\r\\n")
    found = content.count(encoded(old))
    if found != 1:
        end("The old text occurs " + str(found) + " times in " + path + ", not once." if found else "The old text does not occur in " + path + ".")
    with open(path, "wb") as file:
        file.write(content.replace(encoded(old), encoded(new)))
    end("Changed " + path + ".", 0)
except (OSError, ValueError) as error:
    end(path + ": " + (getattr(error, "strerror", None) or str(error)))
`;

/** The base system's own Python: the project's environment may be older than this program. */
const EDIT_SCRIPT = `exec env -i PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 python3 -I -c ${quoted(EDIT_PROGRAM)} 2>&1`;
