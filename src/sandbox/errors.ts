import { ApplicationFailure } from '@temporalio/common';
import { FAILURE_TYPES, infraFailure } from '../domain/failures.ts';

interface DockerErrorShape {
  readonly statusCode: number | undefined;
  readonly code: string | undefined;
  readonly message: string;
}

const GONE_CODES = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'ECONNRESET',
  'EPIPE',
  'EHOSTUNREACH',
  'ETIMEDOUT',
  'ENOTFOUND',
]);

function shapeOf(error: unknown): DockerErrorShape {
  const fields = (error ?? {}) as {
    statusCode?: unknown;
    code?: unknown;
    json?: { message?: unknown };
    message?: unknown;
  };
  const message = fields.json?.message ?? fields.message ?? String(error);
  return {
    statusCode: typeof fields.statusCode === 'number' ? fields.statusCode : undefined,
    code: typeof fields.code === 'string' ? fields.code : undefined,
    message: (typeof message === 'string' ? message : JSON.stringify(message)).trim(),
  };
}

/** HTTP status of a Docker API error, if it is one. */
export const dockerStatus = (error: unknown): number | undefined => shapeOf(error).statusCode;

/**
 * The one place that turns what dockerode (or the socket below it) throws into a typed, retryable failure.
 *
 * @param doing what was attempted, as in "create a container from IMAGE"; becomes part of the sentence.
 */
export function classifyDockerError(error: unknown, doing: string): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  const { statusCode, code, message } = shapeOf(error);
  if (/no space left on device|disk quota exceeded/i.test(message)) {
    return infraFailure(
      `Docker ran out of disk space when asked to ${doing}: ${message}. Free some space (\`repoforge storage\` shows what uses it); the work goes on by itself.`,
      { type: FAILURE_TYPES.noDisk, nextRetryMs: 60_000, cause: error },
    );
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return infraFailure(
      `No permission to use the Docker socket when asked to ${doing}: add this user to the docker group, or set DOCKER_HOST.`,
      { cause: error },
    );
  }
  if (statusCode === undefined && code !== undefined && GONE_CODES.has(code)) {
    return infraFailure(
      `The Docker daemon does not answer (${code}) when asked to ${doing}. Start it, or set DOCKER_HOST; the work goes on by itself.`,
      { cause: error },
    );
  }
  if (statusCode === 404 && /no such image|pull access denied|manifest unknown/i.test(message)) {
    return infraFailure(
      `The image to ${doing} is not on this machine: ${message}. It is made again at the next attempt.`,
      {
        cause: error,
      },
    );
  }
  if (
    /bind source path does not exist|no such file or directory.*mount|cannot access path.*subpath/i.test(
      message,
    )
  ) {
    return infraFailure(`A mount's source is missing when asked to ${doing}: ${message}.`, {
      type: FAILURE_TYPES.missingMount,
      cause: error,
    });
  }
  if (statusCode === 404 && /no such (container|exec)/i.test(message)) {
    return infraFailure(`The container vanished when asked to ${doing}: ${message}.`, { cause: error });
  }
  if (statusCode === 409 && /is not running|is paused|is restarting/i.test(message)) {
    return infraFailure(`The container was stopped from outside when asked to ${doing}: ${message}.`, {
      cause: error,
    });
  }
  return infraFailure(
    `Docker failed when asked to ${doing}${statusCode === undefined ? '' : ` (HTTP ${statusCode})`}: ${message}.`,
    { cause: error },
  );
}

/** Runs one Docker call; what it throws is classified, and a daemon that hangs is an infra failure too. */
export async function dockerCall<T>(doing: string, call: () => Promise<T>, timeoutMs = 120_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(infraFailure(`Docker did not ${doing} within ${Math.round(timeoutMs / 1000)} s.`)),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([call(), late]);
  } catch (error) {
    throw classifyDockerError(error, doing);
  } finally {
    clearTimeout(timer);
  }
}
